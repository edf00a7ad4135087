/* SPDX-License-Identifier: MIT */
/* tasks/queue/feed.c against a real redis-server: who hears what, the log, a second
 * hub, loss of the connection. */
#include "tests/lib/queue_side.h"

#include "tasks/queue/services.h"

/* Events read from the log must equal those delivered live. */
static void test_replay(void)
{
    struct owner_source source = queue_feed_source(hub.feed);
    char id[ID_SIZE];
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    queue_lease(worker.queue, "default", 1, on_leased, NULL);
    finish(1);
    queue_started(worker.queue, id, 1, NULL, NULL);
    struct queue_update line = {.kind = QUEUE_LOG, .id = id, .fence = 1, .message = SPAN("a line")};
    queue_update(worker.queue, &line, NULL, NULL);
    struct queue_end end = {.kind = QUEUE_COMPLETED, .id = id, .fence = 1, .result = SPAN("{\"n\":\n\t3}")};
    queue_end(worker.queue, &end, on_done, NULL);
    finish(1);
    reach(&told.count, 3);
    forget_events();
    source.replay(source.ctx, owner, 0, 100, on_replay, NULL);
    finish(1);
    ok(!told.gap, "no gap");
    is_text(codes(), "rArSrLrC", "the log: accepted, started, log, completed");
    ok(strstr(told.events[3].body,
              "\"status\":\"completed\",\"stage\":\"completed\",\"progress\":100,\"attempt\":1,"
              "\"result\":{\"n\":  3}"),
       "a replayed event has its result: %s", told.events[3].body);
    forget_events();
    source.replay(source.ctx, owner, 2, 1, on_replay, NULL);
    finish(1);
    is_int(told.replayed, 1, "a page of one");
    is_int(told.events[0].seq, 3, "behind the given one");
    forget_events();
    source.replay(source.ctx, owner, 4, 10, on_replay, NULL);
    finish(1);
    ok(!told.gap && told.replayed == 0, "at the head: nothing, no gap");
    source.replay(source.ctx, owner, 99, 10, on_replay, NULL);
    finish(1);
    ok(told.gap, "from the future: a gap");
}

static void lease_again(const char *id)
{
    do { /* the next attempt may be due in a millisecond */
        queue_lease(worker.queue, "default", 1, on_leased, NULL);
        finish(1);
    } while (told.leased_count == 0 && told.code == QUEUE_OK);
    is_text(told.leased.id, id, "leased as attempt %u", told.leased.attempt);
    queue_started(worker.queue, id, told.leased.fence, on_done, NULL);
    finish(1);
}

static void say(const char *id, enum queue_update_kind kind, const char *stage, const char *text)
{
    struct queue_update update = {.kind = kind,
                                  .id = id,
                                  .fence = told.leased.fence,
                                  .attempt = told.leased.attempt,
                                  .stage = stage,
                                  .task = "noop_heavy",
                                  .reported = &told.reported};
    if (kind == QUEUE_LOG)
        update.message = span_of(text);
    else if (kind == QUEUE_FINAL)
        update.meta = span_of(text);
    bool told_of = kind == QUEUE_FINAL || kind == QUEUE_LOG;
    queue_update(worker.queue, &update, told_of ? on_done : NULL, NULL);
    if (told_of)
        finish(1);
}

static void end_as(const char *id, enum queue_end_kind kind, bool retry)
{
    struct queue_end end = {.kind = kind,
                            .id = id,
                            .fence = told.leased.fence,
                            .result = SPAN("{\"n\":[1,2]}"),
                            .error_code = SPAN("bad_thing"),
                            .error = SPAN("It \"broke\"\n\xc3\xa4"),
                            .retry = retry};
    queue_end(worker.queue, &end, on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_OK, "ended");
}

/* Tasks with every logged event, in usual and unusual stages. */
static void run_all_kinds(void)
{
    char id[ID_SIZE];
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    lease_again(id);
    say(id, QUEUE_LOG, NULL, "");
    say(id, QUEUE_PROGRESS, "thinking", NULL);
    say(id, QUEUE_LOG, NULL, "a \"line\"");
    say(id, QUEUE_FINAL, NULL, "{\"text\":\"a\"}");
    end_as(id, QUEUE_FAILED, true);
    lease_again(id);
    end_as(id, QUEUE_DIED, false);
    lease_again(id);
    end_as(id, QUEUE_COMPLETED, false);
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    lease_again(id);
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    say(id, QUEUE_LOG, NULL, "stopping");
    end_as(id, QUEUE_CANCELLED, false);
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    lease_again(id);
    end_as(id, QUEUE_FAILED, false);
}

/* Byte for byte, whichever way an event comes. */
static void test_replay_is_live(void)
{
    struct owner_source source = queue_feed_source(other.feed);
    unsigned compared = 0;
    source.attach(source.ctx, owner, on_position, NULL);
    finish(1);
    uint64_t from = told.position.head;
    forget_events();
    run_all_kinds();
    source.attach(source.ctx, owner, on_position, NULL);
    finish(1);
    unsigned live = told.count;
    source.replay(source.ctx, owner, from, 100, on_replay, NULL);
    finish(1);
    is_int(told.replayed, told.position.head - from, "everything is replayed");
    for (unsigned i = live; i < told.count; i++) {
        unsigned k = 0;
        while (k < live && told.events[k].seq != told.events[i].seq)
            k++;
        if (k < live) {
            is_text(told.events[i].body, told.events[k].body, "%c", told.events[i].code);
            compared++;
        }
    }
    is_int(compared, told.replayed, "each was told live");
    source.detach(source.ctx, owner);
    forget_events();
}

static void on_service(void *ctx, struct span json)
{
    (void)ctx;
    ok(span_is(json, "{}"), "a service answers");
    told.done++;
}

static void test_two_hubs(void)
{
    struct owner_source source = queue_feed_source(other.feed);
    char id[ID_SIZE];
    source.attach(source.ctx, owner, on_position, NULL);
    finish(1);
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    ok(reach(&told.count, 1), "the other hub hears of a submission");
    is_text(codes(), "oA", "it alone");
    queue_cancel(other.queue, &caller, id, on_answer, NULL);
    finish(1);
    ok(reach(&told.count, 3), "both hear of the cancel");
    forget_events();
    static const char body[] = "{\"user_id\":\"u1\",\"id\":\"n1\",\"title\":\"Hi\"}";
    const struct service *service = service_find("notify", "send_notification");
    service->call(other.queue, span_of(body), on_service, NULL);
    service->call(other.queue, span_of(body), on_service, NULL);
    finish(2);
    ok(reach(&told.count, 2), "a notification");
    is_int(told.count, 2, "once per id and hub");
    ok(strncmp(told.events[0].body, body, sizeof body - 2) == 0, "as it came: %s", told.events[0].body);
    forget_events();
    queue_feed_watch(other.feed, on_done, NULL);
    finish(1);
    shard_task_id(id, SPAN("u9"));
    submit(id, "u9");
    ok(reach(&told.admins, 1), "an admin's feed shows owners nobody listens to");
    queue_feed_unwatch(other.feed);
    queue_cancel(hub.queue, &(struct queue_caller){.owner = "u9"}, id, on_answer, NULL);
    finish(1);
    source.detach(source.ctx, owner);
    forget_events();
}

/* The second of two submissions in a call fails on an index of the wrong type; the first stands. */
static void test_broken_call(void)
{
    struct owner_source source = queue_feed_source(hub.feed);
    char id[ID_SIZE], next[ID_SIZE];
    struct queue_submit call = submission(id, owner);
    source.attach(source.ctx, owner, on_position, NULL);
    finish(1);
    redis_callv(hub.commands, NULL, NULL, "LPUSH", "th:{0}:i:u7", "x", NULL); /* a sorted set is wanted */
    shard_task_id(id, span_of(owner));
    queue_submit(hub.queue, &call, on_submitted, NULL);
    shard_task_id(next, SPAN("u7"));
    call.id = next;
    call.owner = "u7";
    call.light = true;
    queue_submit(hub.queue, &call, on_submitted, NULL);
    finish(2);
    is_int(told.submitted.code, QUEUE_UNAVAILABLE, "the outcome of the call is unknown");
    ok(reach(&told.count, 1), "what it did until then is told");
    is_text(codes(), "hA", "its accepted event");
    is_text(told.events[0].id, id, "of the task that stands");
    is_int(told.events[0].seq, told.position.head + 1, "as the log has it");
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    forget_events();
}

static void test_reclaim(void)
{
    char id[ID_SIZE];
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    queue_lease(worker.queue, "default", 1, on_leased, NULL);
    finish(1);
    queue_started(worker.queue, id, 1, on_done, NULL);
    finish(1);
    leave_side(&worker);
    close_side(&worker);
    open_side(&worker, "w one", false, "w");
    queue_reclaim(worker.queue, on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_OK, "the next incarnation gives the leases back");
    queue_lease(worker.queue, "default", 1, on_leased, NULL);
    finish(1);
    is_text(told.leased.id, id, "and gets the task again");
    is_int(told.leased.attempt, 2, "as the second attempt");
    struct queue_end end = {.kind = QUEUE_DIED, .id = id, .fence = 2};
    queue_started(worker.queue, id, 2, on_done, NULL);
    queue_end(worker.queue, &end, on_done, NULL);
    finish(2);
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    ok(strstr(told.json, "\"status\":\"failed\""), "two deaths end it");
    ok(strstr(told.json, "\"worker_lost\""), "as worker_lost");
    forget_events();
}

static void test_loss(void)
{
    char id[ID_SIZE];
    struct owner_source source = queue_feed_source(hub.feed);
    unsigned ready = hub.ready, ups = hub.feed_ups;
    shard_task_id(id, span_of(owner));
    redis_server_kill(&server);
    struct queue_submit call = submission(id, owner);
    queue_submit(hub.queue, &call, on_submitted, NULL);
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(2);
    is_int(told.submitted.code, QUEUE_UNAVAILABLE, "no Redis: unavailable");
    is_int(told.answer.code, QUEUE_UNAVAILABLE, "reads too");
    reach(&told.done, told.done);
    ok(UNTIL(!redis_is_up(hub.subscriber)), "the subscriber knows, too");
    source.attach(source.ctx, owner, on_position, NULL);
    ok(!told.position.ok, "attaching fails at once");
    told.done = 0;
    redis_server_start(&server);
    ok(reach(&hub.ready, ready + 1) && reach(&hub.feed_ups, ups + 1), "back after the restart");
    source.attach(source.ctx, owner, on_position, NULL);
    finish(1);
    ok(told.position.ok && told.position.head > 0, "the log is still there");
    redis_callv(hub.commands, NULL, NULL, "FUNCTION", "FLUSH", NULL);
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    is_int(told.answer.code, QUEUE_UNAVAILABLE, "functions that are gone: unavailable");
    for (int i = 0; i < 100 && told.answer.code == QUEUE_UNAVAILABLE; i++) {
        queue_get(hub.queue, &caller, id, on_answer, NULL);
        finish(1);
    }
    is_int(told.answer.code, QUEUE_NOT_FOUND, "they are loaded again");
}

int main(void)
{
    if (!sides_open())
        skip_all("no redis-server");
    attach_first();
    test_replay();
    test_replay_is_live();
    test_two_hubs();
    test_broken_call();
    test_reclaim();
    test_loss();
    sides_close();
    return done_testing();
}
