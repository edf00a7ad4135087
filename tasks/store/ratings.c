/* SPDX-License-Identifier: MIT */
/* Votes and ratings in SQL; see ratings.h. The sum of all votes is kept in one row, so that a vote need
 * not add them up. Any thread with a database of its own. */
#include "tasks/store/ratings.h"

#include <math.h>
#include <stdio.h>

#define PRIOR_VOTES 5.0       /* average votes that a new resource starts with */
#define PRIOR_MEAN 3.0        /* before the first vote of all */
#define Z95 1.959963984540054 /* 97.5 % quantile of the normal distribution */

/* Bayesian average: PRIOR_VOTES imaginary votes of the mean of all votes are added, so that one five-star
 * vote does not beat a hundred good ones. (The estimate IMDb published as its "weighted rating".)
 *
 * Lower bound: the Wilson score interval (E. B. Wilson, "Probable Inference, the Law of Succession, and
 * Statistical Inference", JASA 22, 1927) of the share of stars above one, at 95 %:
 *     (p + z²/2n - z √(p(1-p)/n + z²/4n²)) / (1 + z²/n),   p = (mean - 1) / 4. */
struct rating rating_of(int64_t votes, int64_t stars, double prior_mean)
{
    double n = (double)votes, sum = (double)stars;
    struct rating rating = {.rating = (PRIOR_VOTES * prior_mean + sum) / (PRIOR_VOTES + n), .votes = votes};
    if (votes > 0) {
        double p = (sum / n - 1) / 4, z2 = Z95 * Z95;
        double spread = Z95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n));
        rating.lower_bound = fmax(0, (p + z2 / (2 * n) - spread) / (1 + z2 / n));
    }
    return rating;
}

int ratings_vote(struct db *db, struct span resource, struct span user, int stars, int64_t now_ms)
{
    int64_t before; /* 0 = no earlier vote */
    if (db_one(db_query(db, "SELECT stars FROM votes WHERE resource_id = ? AND user_id = ?", "ss", resource,
                        user),
               &before) != 0)
        return -1;
    if (db_run(db_query(db,
                        "INSERT INTO votes (resource_id, user_id, stars, voted_at) VALUES (?, ?, ?, ?) "
                        "ON CONFLICT (resource_id, user_id) DO UPDATE SET stars = excluded.stars, "
                        "voted_at = excluded.voted_at",
                        "ssil", resource, user, stars, now_ms)) != 0)
        return -1;
    return db_run(db_query(db, "UPDATE vote_totals SET votes = votes + ?, stars = stars + ?", "il",
                           before == 0, stars - before));
}

int ratings_prior(struct db *db, double *ret)
{
    struct db_query *query = db_query(db, "SELECT votes, stars FROM vote_totals", "");
    int row = db_step(query);
    if (row == 1) {
        int64_t votes = db_int(query, 0);
        *ret = votes > 0 ? (double)db_int(query, 1) / (double)votes : PRIOR_MEAN;
    }
    db_done(query);
    return row == 1 ? 0 : -1;
}

/* Stores a rating unless it is unchanged. */
static int store(struct db *db, struct span resource, const struct rating *rating, int64_t now_ms)
{
    return db_run(db_query(
        db,
        "INSERT INTO ratings (resource_id, rating, votes, lower_bound, calculated_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (resource_id) DO UPDATE SET rating = excluded.rating, votes = excluded.votes, "
        "lower_bound = excluded.lower_bound, calculated_at = excluded.calculated_at "
        "WHERE ratings.votes <> excluded.votes OR abs(ratings.rating - excluded.rating) > 1e-9 "
        "OR abs(ratings.lower_bound - excluded.lower_bound) > 1e-9",
        "sdldl", resource, rating->rating, rating->votes, rating->lower_bound, now_ms));
}

int ratings_calculate(struct db *db, struct span resource, double prior_mean, int64_t now_ms,
                      struct rating *ret, bool *ret_changed)
{
    struct db_query *query = db_query(
        db, "SELECT count(*), coalesce(sum(stars), 0) FROM votes WHERE resource_id = ?", "s", resource);
    int row = db_step(query);
    *ret_changed = false;
    if (row == 1)
        *ret = rating_of(db_int(query, 0), db_int(query, 1), prior_mean);
    db_done(query);
    if (row != 1 || (ret->votes > 0 && store(db, resource, ret, now_ms) != 0))
        return -1;
    *ret_changed = ret->votes > 0 && db_changes(db) > 0;
    return 0;
}

int ratings_count(struct db *db, int64_t since_ms, int64_t *ret)
{
    return db_one(
        db_query(db, "SELECT count(DISTINCT resource_id) FROM votes WHERE voted_at >= ?", "l", since_ms),
        ret);
}

static int calculate_batch(struct db *db, struct ratings_batch *batch)
{
    struct db_query *ids = db_query(db,
                                    "SELECT DISTINCT resource_id FROM votes WHERE resource_id > ? "
                                    "AND voted_at >= ? ORDER BY resource_id LIMIT ?",
                                    "sli", span_of(batch->after), batch->since_ms, RATINGS_BATCH);
    struct rating rating;
    bool changed;
    int row, rc = 0;
    while ((row = db_step(ids)) == 1 && rc == 0) {
        struct span id = db_text(ids, 0);
        rc = ratings_calculate(db, id, batch->prior_mean, batch->now_ms, &rating, &changed);
        snprintf(batch->after, sizeof batch->after, "%.*s", SPAN_ARG(id));
        batch->done++;
        batch->changed += changed;
    }
    db_done(ids);
    return row < 0 ? -1 : rc;
}

int ratings_calculate_batch(struct db *db, struct ratings_batch *batch)
{
    batch->done = batch->changed = 0;
    return db_begin(db) == 0 ? db_end(db, calculate_batch(db, batch)) : -1;
}
