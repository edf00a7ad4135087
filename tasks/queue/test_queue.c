/* SPDX-License-Identifier: MIT */
/* tasks/queue*.c against a real redis-server: what is staged together, answers, figures, audio. The
 * transitions themselves are tested in tests/scenarios/test_queue_*.py. */
#include "tests/lib/queue_side.h"

static void test_cycle(void)
{
    char id[ID_SIZE];
    shard_task_id(id, span_of(owner));
    unsigned bells = told.bells;
    submit(id, owner);
    is_text(told.submitted.id, id, "under its id");
    is_text(told.submitted.status, "pending", "pending");
    is_int(told.submitted.seq, 1, "its accepted event is the first");
    ok(reach(&told.bells, bells + 1), "the bell rings at the worker");
    queue_lease(worker.queue, "default", 4, on_leased, NULL);
    finish(1);
    is_int(told.leased_count, 1, "leased");
    is_text(told.leased.id, id, "the task");
    is_text(told.leased.owner, owner, "its owner");
    is_text(told.leased.args, "{\"steps\":3}", "its arguments");
    is_int(told.leased.attempt, 1, "first attempt");
    queue_started(worker.queue, id, 1, on_done, NULL);
    struct queue_update update = {.kind = QUEUE_PROGRESS,
                                  .id = id,
                                  .fence = 1,
                                  .attempt = 1,
                                  .percent = 40,
                                  .stage = "work\"ing",
                                  .message = SPAN("say \"hi\"\n\xff"),
                                  .meta = SPAN("{\"a\":\n1}"),
                                  .task = "noop_heavy",
                                  .reported = &told.reported};
    queue_update(worker.queue, &update, NULL, NULL);
    struct queue_update line = {.kind = QUEUE_LOG, .id = id, .fence = 1, .message = SPAN("a line")};
    queue_update(worker.queue, &line, NULL, NULL);
    struct queue_end end = {.kind = QUEUE_COMPLETED, .id = id, .fence = 1, .result = SPAN("{\"n\":\n3}")};
    queue_end(worker.queue, &end, on_done, NULL);
    finish(2);
    is_int(told.code, QUEUE_OK, "ended");
    ok(reach(&told.count, 4), "the hub hears it");
    is_text(codes(), "hShPhLhC", "in order: started, progress, log, completed");
    is_int(told.events[0].seq, 2, "started carries seq");
    is_int(told.events[1].rev, 2, "progress carries rev");
    ok(strstr(told.events[1].body,
              "\"stage\":\"work_ing\",\"progress\":40,\"message\":\"say \\\"hi\\\"\\n\xef\xbf\xbd\","
              "\"meta\":{\"a\": 1}"),
       "texts are clean: %s", told.events[1].body);
    ok(strstr(told.events[3].body, "\"result\":{\"n\": 3}"), "with the result: %s", told.events[3].body);
    queue_end(worker.queue, &end, on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_LOST, "a second end is refused");
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    ok(strstr(told.json, "\"status\":\"completed\""), "get: completed");
    ok(strstr(told.json, "\"seq\":4,"), "its last event");
    ok(json_check(span_of(told.json), JSON_LIMITS, &(const char *){NULL}) == KIND_OBJECT, "get: JSON");
    ok(json_string_is(json_get(span_of(told.json), "user_id"), owner), "with its owner");
    forget_events();
}

static void test_key(void)
{
    char id[ID_SIZE], again[ID_SIZE], effect[ID_SIZE], another[ID_SIZE];
    struct queue_submit call = submission(id, owner);
    shard_task_id(id, span_of(owner));
    shard_task_id(again, span_of(owner));
    queue_effect_id(effect, owner, SPAN("a key of 4 words "));
    queue_effect_id(another, "u2", SPAN("a key of 4 words "));
    ok(id_valid(span_of(effect)) && strcmp(effect, another) != 0, "a key is its owner's");
    call.effect_id = effect;
    queue_submit(hub.queue, &call, on_submitted, NULL);
    call.id = again;
    queue_submit(hub.queue, &call, on_submitted, NULL);
    finish(2);
    is_int(told.submitted.code, QUEUE_DUPLICATE, "the same key");
    is_text(told.submitted.id, id, "is the same task");
    queue_effect_id(another, owner, SPAN("a key of 4 words"));
    call.effect_id = another;
    queue_submit(hub.queue, &call, on_submitted, NULL);
    finish(1);
    is_int(told.submitted.code, QUEUE_OK, "another key, another task");
    queue_lease(worker.queue, "default", 2, on_leased, NULL);
    finish(1);
    is_text(told.leased.effect_id, effect, "the runner is told what names its effects");
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    queue_cancel(hub.queue, &caller, again, on_answer, NULL);
    finish(2);
    forget_events();
}

/* C builds the same body from the same parts as the live event had. */
static void test_same_body(void)
{
    char id[ID_SIZE];
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    queue_lease(worker.queue, "default", 4, on_leased, NULL);
    finish(1);
    queue_started(worker.queue, id, 1, NULL, NULL);
    struct queue_end end = {.kind = QUEUE_FAILED,
                            .id = id,
                            .fence = 1,
                            .error_code = SPAN("bad_thing"),
                            .error = SPAN("It \"broke\" / \x01\x7f \xc3\xa4")};
    queue_end(worker.queue, &end, on_done, NULL);
    finish(1);
    reach(&told.count, 1);
    is_text(codes(), "hX", "a start and an end of one turn are one event");
    struct span at = json_get(span_of(told.events[0].body), "at");
    char at_text[32] = "";
    ok(json_string_copy(at, at_text, sizeof at_text), "it has a time");
    struct event_text text = {.code = 'X',
                              .attempt = 1,
                              .at_ms = clock_parse(at_text, strlen(at_text)),
                              .id = span_of(id),
                              .task = SPAN("noop_heavy"),
                              .owner = span_of(owner),
                              .error_code = end.error_code,
                              .error = end.error};
    struct event *event = event_text_build(&text, 1, 0);
    ok(span_is((struct span){event->body, event->size}, told.events[0].body),
       "what it says is what it was told");
    event_unref(&event);
    forget_events();
    char again[ID_SIZE];
    shard_task_id(again, span_of(owner));
    queue_retry(hub.queue, &caller, &(struct queue_retry){.id = id, .new_id = again}, on_answer, NULL);
    finish(1);
    is_int(told.answer.code, QUEUE_OK, "retried");
    ok(told.answer.at_ms > 0, "with the time of its accepted event");
    queue_cancel(hub.queue, &caller, again, on_answer, NULL);
    finish(1);
    is_text(told.answer.status, "cancelled", "a waiting task is cancelled at once");
    is_text(codes(), "hK", "the hub that caused it is told by the reply");
    forget_events();
}

/* Builds the end of a task that is recorded once, and its id. */
static struct event_text end_of(char code, const char *whose, char id[static ID_SIZE])
{
    shard_task_id(id, span_of(whose));
    return (struct event_text){
        .code = code, .id = span_of(id), .task = SPAN("noop"), .owner = span_of(whose)};
}

static void test_callers(void)
{
    char id[ID_SIZE];
    struct event_text end = end_of('C', owner, id);
    struct queue_submit task = {
        .id = id, .owner = owner, .task = "noop", .queue = "light", .light = true, .end = &end};
    queue_submit(hub.queue, &task, on_submitted, NULL);
    finish(1);
    queue_get(hub.queue, &(struct queue_caller){.owner = "u2"}, id, on_answer, NULL);
    finish(1);
    is_int(told.answer.code, QUEUE_FORBIDDEN, "somebody else is refused");
    queue_get(hub.queue, &(struct queue_caller){.owner = "u2", .any_read = true}, id, on_answer, NULL);
    finish(1);
    is_int(told.answer.code, QUEUE_OK, "a viewer is not");
    forget_events();
}

static void test_recorded_once(void)
{
    char id[ID_SIZE], failed[ID_SIZE], effect[ID_SIZE];
    struct queue_submit task = {.id = id, .owner = owner, .task = "noop", .queue = "light", .light = true};
    struct event_text well_done = end_of('C', owner, id), bad = end_of('X', owner, failed);
    well_done.result = SPAN("{\"x\":1}");
    bad.error_code = SPAN("oops");
    bad.error = SPAN("no\nluck");
    task.started_ms = (uint64_t)clock_wall_ms();
    task.end = &well_done;
    queue_submit(hub.queue, &task, on_submitted, NULL);
    queue_effect_id(effect, owner, SPAN("once"));
    task.id = failed;
    task.args = SPAN("{\"q\":2}");
    task.effect_id = effect;
    task.end = &bad;
    queue_submit(hub.queue, &task, on_submitted, NULL);
    finish(2);
    is_int(told.submitted.code, QUEUE_OK, "two light tasks recorded in one call");
    uint64_t head = told.submitted.seq;
    char again[ID_SIZE];
    shard_task_id(again, span_of(owner));
    task.id = again;
    task.args = SPAN("{ \"q\": 2 }");
    queue_submit(hub.queue, &task, on_submitted, NULL);
    finish(1);
    ok(told.submitted.code == QUEUE_DUPLICATE && told.submitted.seq == head, "the key again");
    is_text(told.submitted.id, failed, "stands for the first task");
    is_text(told.submitted.status, "failed", "as it ended");
    task.args = SPAN("{\"q\":3}");
    queue_submit(hub.queue, &task, on_submitted, NULL);
    finish(1);
    is_int(told.submitted.code, QUEUE_MISMATCH, "other arguments are a conflict");
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    ok(strstr(told.json, "\"result\":{\"x\":1}"), "the result is kept");
    queue_get(hub.queue, &caller, failed, on_answer, NULL);
    finish(1);
    ok(strstr(told.json, "\"error\":{\"code\":\"oops\",\"message\":\"no\\nluck\"}"), "the error too");
    is_int(told.count, 0, "the hub builds the events of its own submissions itself");
    shard_task_id(id, span_of(owner));
    struct queue_retry retry = {.id = failed, .new_id = id};
    queue_retry(hub.queue, &caller, &retry, on_answer, NULL);
    finish(1);
    is_int(told.answer.code, QUEUE_OK, "a failed light task is retried");
    queue_lease(hub.queue, "light", 1, on_leased, NULL);
    finish(1);
    is_text(told.leased.args, "{\"q\":2}", "with its arguments");
    struct queue_end end = {.kind = QUEUE_RETURNED, .id = told.leased.id, .fence = told.leased.fence};
    queue_end(hub.queue, &end, on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_OK, "given back");
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    forget_events();
}

/* Copies the outcome to `ctx`, a struct queue_submitted. */
static void keep_submitted(void *ctx, const struct queue_submitted *submitted)
{
    *(struct queue_submitted *)ctx = *submitted;
    told.done++;
}

/* Tasks of two owners, one with a key already used, leave in one call, and each gets its own answer. */
static void test_runs(void)
{
    static const struct {
        const char *owner, *key;
        uint64_t seq; /* behind what the owner had */
        enum queue_code code;
    } rows[] = {{"r1", "k0", 1, QUEUE_OK}, {"r1", "k1", 2, QUEUE_OK},        {"r1", "k0", 1, QUEUE_DUPLICATE},
                {"r1", "k2", 3, QUEUE_OK}, {"r2", NULL, 1, QUEUE_OK},        {"r2", NULL, 2, QUEUE_OK},
                {"r1", NULL, 4, QUEUE_OK}, {"r1", "k1", 2, QUEUE_DUPLICATE}, {"r1", NULL, 5, QUEUE_OK}};
    char ids[NELEMS(rows)][ID_SIZE], effects[NELEMS(rows)][ID_SIZE];
    struct event_text ends[NELEMS(rows)];
    struct queue_submitted answers[NELEMS(rows)];
    for (size_t i = 0; i < NELEMS(rows); i++) {
        ends[i] = end_of('C', rows[i].owner, ids[i]);
        struct queue_submit task = {.id = ids[i],
                                    .owner = rows[i].owner,
                                    .task = "noop",
                                    .queue = "light",
                                    .light = true,
                                    .end = &ends[i]};
        if (rows[i].key)
            queue_effect_id(effects[i], task.owner, span_of(rows[i].key));
        task.effect_id = rows[i].key ? effects[i] : NULL;
        queue_submit(hub.queue, &task, keep_submitted, &answers[i]);
    }
    finish(NELEMS(rows));
    for (size_t i = 0; i < NELEMS(rows); i++) {
        is_int(answers[i].code, rows[i].code, "task %zu", i);
        if (rows[i].code == QUEUE_OK)
            is_int(answers[i].seq, rows[i].seq, "seq of task %zu", i);
        is_text(answers[i].id, ids[i == 2 ? 0 : i == 7 ? 1 : i], "id of task %zu", i);
    }
    forget_events();
}

static void test_cancel_running(void)
{
    char id[ID_SIZE];
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    queue_lease(worker.queue, "default", 1, on_leased, NULL);
    finish(1);
    queue_started(worker.queue, id, 1, on_done, NULL);
    finish(1);
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    is_text(told.answer.status, "processing", "a running task is asked");
    is_text(told.answer.stage, "cancelling", "to stop");
    ok(reach(&told.cancels, 1), "its worker hears it");
    queue_beat(worker.queue, &(struct queue_beat_item){id, 1}, 1, SPAN("{\"slots\":2}"), on_beat, NULL);
    finish(1);
    is_int(told.cancelled, 1, "a beat tells it again");
    is_int(told.lost, 0, "the lease is kept");
    struct queue_end end = {.kind = QUEUE_COMPLETED, .id = id, .fence = 1};
    queue_end(worker.queue, &end, on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_OK, "its completion");
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    ok(strstr(told.json, "\"status\":\"cancelled\""), "makes it cancelled");
    queue_beat(worker.queue, &(struct queue_beat_item){id, 1}, 1, SPAN_NONE, on_beat, NULL);
    finish(1);
    is_int(told.lost, 1, "then it is lost to the worker");
    reach(&told.count, 3);
    forget_events();
}

static void test_lists(void)
{
    static const char *const json_names[] = {"tasks", "totals"};
    queue_list(hub.queue, &(struct queue_filter){.owner = owner, .since_ms = -1, .until_ms = -1, .limit = 2},
               on_answer, NULL);
    finish(1);
    const char *reason = NULL;
    ok(json_check(span_of(told.json), JSON_LIMITS, &reason) == KIND_OBJECT, "list: JSON");
    for (size_t i = 0; i < NELEMS(json_names); i++)
        ok(json_get(span_of(told.json), json_names[i]).p, "list: %s", json_names[i]);
    ok(json_get(span_of(told.json), "next_cursor").p, "list: there is more");
    void (*const calls[])(struct queue *, queue_answer_fn *, void *) = {queue_stats, queue_workers};
    for (size_t i = 0; i < NELEMS(calls); i++) {
        calls[i](hub.queue, on_answer, NULL);
        finish(1);
        ok(json_check(span_of(told.json), JSON_LIMITS, &reason) == KIND_OBJECT, "figures: %s", told.json);
    }
    queue_snapshot(hub.queue, owner, on_answer, NULL);
    finish(1);
    ok(json_check(span_of(told.json), JSON_LIMITS, &reason) == KIND_OBJECT, "snapshot: JSON");
    char id[ID_SIZE];
    shard_task_id(id, span_of(owner));
    submit(id, owner);
    queue_why(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    ok(strstr(told.json, "\"place\":\"ready\"") && strstr(told.json, "\"position\":0"), "why: %s", told.json);
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    forget_events();
}

static void test_audio(void)
{
    char id[ID_SIZE];
    shard_task_id(id, span_of(owner));
    struct queue_submit call = submission(id, owner);
    call.queue = "live";
    call.stream = true;
    queue_submit(hub.queue, &call, on_submitted, NULL);
    queue_audio_append(hub.queue, owner, id, 0, SPAN("abcd"), on_audio, NULL);
    queue_audio_append(hub.queue, owner, id, 2, SPAN("cdef"), on_audio, NULL);
    finish(3);
    is_int(told.audio.code, QUEUE_OK, "appended in the turn of the submit");
    is_int(told.audio.received, 6, "what stood already is skipped");
    queue_lease(worker.queue, "live", 1, on_leased, NULL);
    finish(1);
    queue_audio_append(hub.queue, owner, id, 6, SPAN("g"), on_audio, NULL);
    queue_audio_end(hub.queue, owner, id, on_audio, NULL);
    finish(2);
    ok(told.audio.ended && told.audio.received == 7, "ended behind the last bytes");
    ok(reach(&told.audios, 2), "the worker hears of both");
    queue_audio_read(worker.queue, owner, id, 1, 4, on_bytes, NULL);
    finish(1);
    is_text(told.bytes, "bcde", "read from an offset");
    queue_audio_append(hub.queue, owner, id, 7, SPAN("h"), on_audio, NULL);
    finish(1);
    is_int(told.audio.code, QUEUE_STATE, "nothing goes behind the end");
    queue_audio_take(hub.queue, "u2", id, on_audio, NULL);
    finish(1);
    is_int(told.audio.code, QUEUE_FORBIDDEN, "another owner is refused");
    queue_audio_fail(hub.queue, owner, id, "flow", "Too many bytes", on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_OK, "failed from outside");
    queue_audio_take(hub.queue, owner, id, on_audio, NULL);
    finish(1);
    is_int(told.audio.code, QUEUE_STATE, "then it is over");
    forget_events();
}

static void test_many(void)
{
    struct event_text end = {.code = 'C', .task = SPAN("noop"), .owner = SPAN("u5")};
    for (int i = 0; i < 1000; i++) {
        char id[ID_SIZE];
        shard_task_id(id, SPAN("u5"));
        const struct queue_submit task = {.id = id,
                                          .owner = "u5",
                                          .task = "noop",
                                          .queue = "light",
                                          .light = true,
                                          .end = &end,
                                          .started_ms = 1};
        queue_submit(hub.queue, &task, on_submitted, NULL);
    }
    finish(1000);
    is_int(told.submitted.seq, 1000, "a thousand of one turn, in several calls, in order");
}

#define LIGHT 300 /* more than one batch */

static unsigned well;

static void on_well(void *ctx, enum queue_code code)
{
    (void)ctx;
    well += code == QUEUE_OK;
    told.done++;
}

/* Starts and ends of a turn are paired, whichever batch they are in. */
static void test_starts_and_ends(void)
{
    static char ids[LIGHT][ID_SIZE];
    struct queue_submit call = submission(ids[0], owner);
    call.queue = "light";
    call.light = call.lease = true;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < LIGHT; i++) {
            shard_task_id(ids[i], span_of(owner));
            call.id = ids[i];
            queue_submit(hub.queue, &call, on_submitted, NULL);
        }
        finish(LIGHT);
        struct queue_update line = {.kind = QUEUE_LOG, .id = ids[0], .fence = 1, .message = SPAN("a line")};
        well = 0;
        for (unsigned i = 0; i < LIGHT; i++)
            queue_started(hub.queue, ids[i], 1, on_well, NULL);
        for (unsigned i = 0; round == 1 && i < LIGHT; i++) {
            line.id = ids[i < 256 ? LIGHT - 1 : LIGHT - 2]; /* the former's stand in a full batch only */
            queue_update(hub.queue, &line, on_well, NULL);
        }
        for (unsigned i = 0; i < LIGHT; i++) {
            struct queue_end end = {.kind = QUEUE_COMPLETED, .id = ids[i], .fence = 1};
            queue_end(hub.queue, &end, on_well, NULL);
        }
        finish((2 + round) * LIGHT);
        is_int(well, (2 + round) * LIGHT, "every write was taken, round %u", round);
    }
    forget_events();
}

static void test_audit(void)
{
    audit_run(hub.queue, false, on_report, NULL);
    finish(1);
    ok(told.clean, "the auditor finds nothing: %s", told.json);
    ok(json_check(span_of(told.json), JSON_LIMITS, &(const char *){NULL}) == KIND_OBJECT,
       "its report is JSON");
    redis_callv(hub.commands, NULL, NULL, "HSET", "th:{0}:g", "act", "7", NULL);
    audit_run(hub.queue, false, on_report, NULL);
    finish(1);
    ok(!told.clean && strstr(told.json, "counts 7 active tasks"), "a wrong counter is found: %s", told.json);
    redis_callv(hub.commands, NULL, NULL, "HSET", "th:{0}:g", "act", "0", NULL);
}

int main(void)
{
    if (!sides_open())
        skip_all("no redis-server");
    attach_first();
    test_cycle();
    test_key();
    test_same_body();
    test_callers();
    test_recorded_once();
    test_runs();
    test_cancel_running();
    test_lists();
    test_audio();
    test_many();
    test_starts_and_ends();
    test_audit();
    sides_close();
    return done_testing();
}
