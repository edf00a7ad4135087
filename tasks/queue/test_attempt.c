/* SPDX-License-Identifier: MIT */
/* tasks/queue/attempt.c against a real redis-server: what attempts report, gathered into few calls. */
#include "tests/lib/queue_side.h"

#include "hub/base/metrics.h"

static void submit_and_lease(char id[static ID_SIZE])
{
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    queue_lease(worker.queue, "default", 1, on_leased, NULL);
    finish(1);
    is_text(told.leased.id, id, "leased");
}

static void report(enum queue_update_kind kind, int percent, const char *stage, struct span meta)
{
    struct queue_update update = {.kind = kind,
                                  .id = told.leased.id,
                                  .fence = told.leased.fence,
                                  .attempt = told.leased.attempt,
                                  .percent = percent,
                                  .stage = stage,
                                  .meta = meta,
                                  .task = "noop_heavy",
                                  .reported = &told.reported};
    bool told_of = kind == QUEUE_FINAL || kind == QUEUE_LOG;
    queue_update(worker.queue, &update, told_of ? on_done : NULL, NULL);
}

static void end_as(enum queue_end_kind kind, bool retry)
{
    struct queue_end end = {.kind = kind, .id = told.leased.id, .fence = told.leased.fence, .retry = retry};
    queue_end(worker.queue, &end, on_done, NULL);
}

/* Everything a task reports in a turn, from its start to its end, takes one call. */
static void test_reports(void)
{
    static const unsigned progress[] = {10, 60, 60, 60};
    char id[ID_SIZE], text[32];
    submit_and_lease(id);
    uint64_t calls = metrics[METRIC_REDIS_CALLS];
    queue_started(worker.queue, id, 1, on_done, NULL);
    report(QUEUE_PROGRESS, 10, "one", SPAN("{\"m\":\n1}"));
    report(QUEUE_PROGRESS, 60, NULL, SPAN_NONE);
    report(QUEUE_PARTIAL, 0, NULL, SPAN("{\"text\":\"a\"}"));
    report(QUEUE_PROGRESS, 30, NULL, SPAN_NONE);
    end_as(QUEUE_COMPLETED, false);
    finish(2);
    is_int(told.code, QUEUE_OK, "started, reported, ended");
    is_int(metrics[METRIC_REDIS_CALLS] - calls, 1, "by one call");
    ok(reach(&told.count, 6), "the hub hears everything");
    is_text(codes(), "hShPhPhphPhC", "in order");
    for (unsigned i = 0; i < NELEMS(progress); i++) {
        is_int(told.events[i + 1].rev, 2 * i + 2, "rev %u", 2 * i + 2);
        snprintf(text, sizeof text, "\"progress\":%u,", progress[i]);
        ok(strstr(told.events[i + 1].body, text), "progress never falls: %s", told.events[i + 1].body);
        ok(strstr(told.events[i + 1].body, "\"stage\":\"one\""), "the stage stays");
    }
    ok(strstr(told.events[1].body, "\"meta\":{\"m\": 1}") && !strstr(told.events[2].body, "\"meta\""),
       "meta goes with its report alone");
    ok(strstr(told.events[3].body, "\"meta\":{\"text\":\"a\"}"), "a partial: %s", told.events[3].body);
    forget_events();
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    ok(strstr(told.json, "\"meta\":{\"m\": 1}"), "the record keeps the newest meta: %s", told.json);
}

/* Revs continue over attempts and leave room for the cancel's; everything else starts anew. */
static void test_reports_of_attempts(void)
{
    char id[ID_SIZE];
    submit_and_lease(id);
    queue_started(worker.queue, id, 1, on_done, NULL);
    report(QUEUE_PROGRESS, 80, "one", SPAN_NONE);
    end_as(QUEUE_FAILED, true);
    finish(2);
    do { /* the next attempt may be due in a millisecond */
        queue_lease(worker.queue, "default", 1, on_leased, NULL);
        finish(1);
    } while (told.leased_count == 0 && told.code == QUEUE_OK);
    is_int(told.leased.attempt, 2, "leased again");
    is_int(told.leased.rev, 2, "with the last rev");
    queue_started(worker.queue, id, 2, on_done, NULL);
    report(QUEUE_PROGRESS, 5, NULL, SPAN_NONE);
    finish(1);
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    report(QUEUE_PROGRESS, 6, NULL, SPAN_NONE);
    end_as(QUEUE_CANCELLED, false);
    finish(1);
    ok(reach(&told.count, 7), "the hub hears both attempts");
    is_text(codes(), "hShPhRhShPhPhK", "in order; after the cancel progress is no news");
    is_int(told.events[4].rev, 4, "the second attempt's report");
    is_int(told.events[5].rev, 5, "the cancel's, behind it");
    ok(strstr(told.events[4].body, "\"stage\":\"started\",\"progress\":5,"), "from the beginning: %s",
       told.events[4].body);
    forget_events();
}

/* A task that reports more than Redis can take. */
static void test_reports_bound(void)
{
    static char meta[4000];
    char id[ID_SIZE];
    submit_and_lease(id);
    memset(meta, ' ', sizeof meta);
    memcpy(meta, "{\"a\":1}", 7);
    queue_started(worker.queue, id, 1, on_done, NULL);
    for (int i = 1; i <= 100; i++)
        report(QUEUE_PROGRESS, i, NULL, (struct span){meta, sizeof meta});
    finish(1);
    is_int(told.code, QUEUE_OK, "a hundred large reports of one turn");
    while (told.count == 0 || told.events[told.count - 1].rev != 200)
        if (!reach(&told.count, told.count + 1))
            break;
    ok(told.count > 2 && told.count < 20, "of these, %u events are told", told.count);
    is_int(told.events[told.count - 1].rev, 200, "the newest is");
    unsigned told_before = told.count;
    end_as(QUEUE_COMPLETED, false);
    finish(1);
    is_int(told.code, QUEUE_OK, "ended");
    reach(&told.count, told_before + 1);
    forget_events();
}

/* A call names a task once, whatever was reported about it. */
static void test_reports_once(void)
{
    char id[ID_SIZE];
    submit_and_lease(id);
    told.leased.fence = 0; /* none of ours */
    report(QUEUE_PROGRESS, 1, NULL, SPAN_NONE);
    told.leased.fence = 1;
    queue_started(worker.queue, id, 1, on_done, NULL);
    end_as(QUEUE_COMPLETED, false);
    finish(2);
    is_int(told.code, QUEUE_OK, "an earlier lease's report changes nothing");
    end_as(QUEUE_COMPLETED, false);
    end_as(QUEUE_COMPLETED, false);
    finish(2);
    is_int(told.code, QUEUE_LOST, "two more ends are refused");
    reach(&told.count, 1);
    is_text(codes(), "hC", "one end");
    forget_events();
}

/* Reports about the next utterance come after the end of this one. */
static void test_order_of_pieces(void)
{
    char id[ID_SIZE];
    submit_and_lease(id);
    queue_started(worker.queue, id, 1, on_done, NULL);
    finish(1);
    reach(&told.count, 1);
    forget_events();
    report(QUEUE_PARTIAL, 0, NULL, SPAN("{\"utterance\":1}"));
    report(QUEUE_FINAL, 0, NULL, SPAN("{\"utterance\":1,\"final\":true}"));
    report(QUEUE_PARTIAL, 0, NULL, SPAN("{\"utterance\":2}"));
    report(QUEUE_PARTIAL, 0, NULL, SPAN("{\"utterance\":2,\"more\":true}"));
    end_as(QUEUE_COMPLETED, false);
    finish(2);
    ok(reach(&told.count, 5), "all are told");
    is_text(codes(), "hphFhphphC", "in the order they were said");
    is_int(told.events[0].rev, 2, "revs rise");
    is_int(told.events[2].rev, 4, "over both ways");
    is_int(told.events[3].rev, 6, "of telling");
    forget_events();
}

int main(void)
{
    if (!sides_open())
        skip_all("no redis-server");
    attach_first();
    test_reports();
    test_reports_of_attempts();
    test_reports_bound();
    test_reports_once();
    test_order_of_pieces();
    sides_close();
    return done_testing();
}
