/* SPDX-License-Identifier: MIT */
/* Domain data in SQL: ratings, notifications, impressions. */
#include "tasks/store/impressions.h"
#include "tasks/store/notifications.h"
#include "tasks/store/ratings.h"
#include "tasks/store/schema.h"
#include "tests/lib/tap.h"

#include <math.h>
#include <unistd.h>

static struct db *db;

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-4;
}

static void test_formulas(void)
{
    struct rating none = rating_of(0, 0, 3.5);
    ok(near(none.rating, 3.5) && near(none.lower_bound, 0), "no vote: the mean, no confidence");
    struct rating one = rating_of(1, 5, 3.5), many = rating_of(100, 480, 3.5);
    ok(near(one.rating, 3.75), "one vote of five stars: (5 * 3.5 + 5) / 6");
    ok(many.rating > one.rating, "a hundred good votes beat one perfect one");
    /* By hand: n = 1, p = 1, z = 1.96: (1 + z²/2 - z²/2) / (1 + z²) = 1 / 4.8415. */
    ok(near(one.lower_bound, 0.20654), "Wilson bound of one vote: %.5f", one.lower_bound);
    /* n = 100, p = 0.95: 0.8883 (interval 0.8883 to 0.9785). */
    ok(near(many.lower_bound, 0.88825), "Wilson bound of a hundred: %.5f", many.lower_bound);
    ok(near(rating_of(10, 10, 3).lower_bound, 0), "only single stars: 0");
}

static int vote(const char *resource, const char *user, int stars, int64_t at)
{
    return ratings_vote(db, span_of(resource), span_of(user), stars, at);
}

static void test_votes(void)
{
    double prior;
    struct rating rating;
    bool changed;
    ok(ratings_prior(db, &prior) == 0 && near(prior, 3), "prior without votes");
    ok(vote("a", "u1", 5, 100) == 0 && vote("a", "u2", 4, 200) == 0 && vote("b", "u1", 1, 300) == 0,
       "three votes");
    ok(vote("a", "u2", 2, 250) == 0, "a vote is changed");
    ok(vote("a", "u3", 6, 250) == -1, "six stars are refused");
    ok(ratings_prior(db, &prior) == 0 && near(prior, 8.0 / 3), "mean of what counts: %.4f", prior);
    ok(ratings_calculate(db, SPAN("a"), prior, 1, &rating, &changed) == 0 && changed,
       "calculated and stored");
    is_int(rating.votes, 2, "two votes");
    ok(near(rating.rating, (5 * prior + 7) / 7), "Bayesian average");
    ok(ratings_calculate(db, SPAN("a"), prior, 2, &rating, &changed) == 0 && !changed,
       "again: nothing changes");
    ok(ratings_calculate(db, SPAN("nobody"), prior, 2, &rating, &changed) == 0 && !changed &&
           rating.votes == 0,
       "a resource without votes is not stored");
}

static void test_batches(void)
{
    char resource[16];
    int64_t total, done = 0, changed = 0, batches = 0;
    for (int i = 0; i < 250; i++) {
        snprintf(resource, sizeof resource, "r%03d", i);
        if (vote(resource, "u1", 1 + i % 5, 1000 + i) != 0)
            abort();
    }
    ok(ratings_count(db, 1000, &total) == 0 && total == 250, "resources since a time");
    struct ratings_batch batch = {.since_ms = 1000, .now_ms = 5};
    if (ratings_prior(db, &batch.prior_mean) != 0)
        abort();
    do {
        if (!ok(ratings_calculate_batch(db, &batch) == 0, "batch behind '%s'", batch.after))
            return;
        done += batch.done;
        changed += batch.changed;
        batches++;
    } while (batch.done == RATINGS_BATCH);
    is_int(done, 250, "all of them");
    is_int(changed, 250, "each stored");
    is_int(batches, 3, "in three batches");
    struct ratings_batch again = {.since_ms = 1000, .now_ms = 6, .prior_mean = batch.prior_mean};
    ok(ratings_calculate_batch(db, &again) == 0 && again.changed == 0, "again: nothing changes");
}

static void add(const char *id, const char *user, int64_t at)
{
    const struct notification n = {span_of(id), span_of(user), SPAN("t"), SPAN("b"), SPAN_NONE, at};
    int64_t created;
    if (notifications_add(db, &n, &created) != 0)
        abort();
}

static void test_notifications(void)
{
    const struct notification first = {SPAN("n1"), SPAN("ann"), SPAN("Hi"), SPAN("<b>\"x\""), SPAN("/x"), 10};
    const struct notification twice = {SPAN("n1"), SPAN("ann"), SPAN("Hi"), SPAN("<b>\"x\""), SPAN("/x"), 99};
    int64_t created, unread;
    bool bad;
    json_t *page;
    ok(notifications_add(db, &first, &created) == 0 && created == 10, "stored");
    ok(notifications_add(db, &twice, &created) == 0 && created == 10, "once per id");
    add("n2", "bob", 11);
    ok(notifications_unread(db, SPAN("ann"), &unread) == 0 && unread == 1, "one unread");
    ok(notifications_mark_read(db, SPAN("bob"), SPAN("n1"), 20) == 0 &&
           notifications_unread(db, SPAN("ann"), &unread) == 0 && unread == 1,
       "nobody marks another user's");
    ok(notifications_list(db, SPAN("ann"), "", true, &page, &bad) == 0, "unread page");
    json_t *row = json_array_get(json_object_get(page, "notifications"), 0);
    is_text(json_string_value(json_object_get(row, "body")), "<b>\"x\"", "body as it came");
    is_text(json_string_value(json_object_get(row, "link")), "/x", "link");
    is_text(json_string_value(json_object_get(row, "at")), "1970-01-01T00:00:00.010Z", "time");
    ok(json_is_false(json_object_get(row, "read")), "not read");
    json_decref(page);
    ok(notifications_mark_read(db, SPAN("ann"), SPAN("n1"), 20) == 0 &&
           notifications_unread(db, SPAN("ann"), &unread) == 0 && unread == 0,
       "marked");
    ok(notifications_list(db, SPAN("ann"), "", true, &page, &bad) == 0, "unread page again");
    is_int(json_array_size(json_object_get(page, "notifications")), 0, "is empty");
    json_decref(page);
    static const char *const bad_cursors[] = {"x", "1", ":a", "-1:a", "99999999999999999999:a", " 1:a"};
    for (size_t i = 0; i < NELEMS(bad_cursors); i++)
        ok(notifications_list(db, SPAN("ann"), bad_cursors[i], false, &page, &bad) == -1 && bad,
           "bad cursor %s", bad_cursors[i]);
}

static void test_pages(void)
{
    char id[16], cursor[160] = "";
    int seen = 0, pages = 0;
    bool bad;
    for (int i = 0; i < 1120; i++) {
        snprintf(id, sizeof id, "p%04d", i);
        add(id, "eve", 1000 + i / 3); /* some share a time */
    }
    const char *next = "";
    while (next) {
        json_t *page;
        if (!ok(notifications_list(db, SPAN("eve"), cursor, false, &page, &bad) == 0, "page %d", ++pages))
            return;
        seen += (int)json_array_size(json_object_get(page, "notifications"));
        next = json_string_value(json_object_get(page, "next_cursor"));
        snprintf(cursor, sizeof cursor, "%s", next ? next : "");
        json_decref(page);
    }
    is_int(seen, NOTIFICATIONS_KEPT, "every kept one once; the oldest are gone");
}

static int64_t impressions_of(const char *resource)
{
    int64_t count;
    if (db_one(db_query(db, "SELECT coalesce(sum(count), 0) FROM impressions WHERE resource_id = ?", "s",
                        span_of(resource)),
               &count) != 0)
        return -1;
    return count;
}

static void test_impressions(void)
{
    json_t *counts = json_pack("{s:i, s:i, s:i}", "r1 view", 3, "r1 click", 1, "r2 view", 5);
    int64_t added, resources;
    ok(impressions_add(db, SPAN("b1"), counts, 100, &added) == 0 && added == 9, "a batch");
    ok(impressions_add(db, SPAN("b1"), counts, 200, &added) == 0 && added == 0,
       "the same batch adds nothing");
    is_int(impressions_of("r1"), 4, "kinds of one resource");
    ok(impressions_add(db, SPAN("b2"), counts, 300, &added) == 0 && added == 9, "another batch");
    is_int(impressions_of("r2"), 10, "sums up");
    ok(impressions_resources(db, 300, &resources) == 0 && resources == 2, "resources of this run");
    int64_t later = 300 + 8LL * 86400 * 1000;
    ok(impressions_add(db, SPAN("b1"), counts, later, &added) == 0 && added == 0,
       "a batch that stands is known however old");
    ok(impressions_add(db, SPAN("b3"), counts, later, &added) == 0 && added == 9,
       "a newer one forgets the old");
    int64_t batches;
    ok(db_one(db_query(db, "SELECT count(*) FROM impression_batches", ""), &batches) == 0 && batches == 1,
       "only the newest is remembered");
    json_decref(counts);
}

int main(void)
{
    char dir[] = "/tmp/test-store-XXXXXX", path[64], *reason = NULL;
    if (mkdtemp(dir) == NULL)
        abort();
    snprintf(path, sizeof path, "%s/t.db", dir);
    db = db_open(path, &reason);
    if (!ok(db && store_migrate(db) == 0 && store_migrate(db) == 0, "opens and migrates"))
        return done_testing();
    test_formulas();
    test_votes();
    test_batches();
    test_notifications();
    test_pages();
    test_impressions();
    db_close(&db);
    unlink(path);
    rmdir(dir);
    return done_testing();
}
