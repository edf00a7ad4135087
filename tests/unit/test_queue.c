/* tasks/queue*.c against a real redis-server: a hub and a worker in one process, each with its connections.
 * The transitions themselves are tested in tests/scenarios/test_queue_*.py; here it is the client: what is
 * staged together, answers, events, feeds, loss of the connection. */
#include "hub/clock.h"
#include "hub/json.h"
#include "tasks/audit.h"
#include "tasks/event_body.h"
#include "tasks/queue.h"

#include "tests/tap.h"
#include "tests/unit/redis_server.h"

#include <sodium.h>

struct side { /* a process as the queue sees it */
    struct redis *commands, *subscriber;
    struct queue *queue;
    struct queue_feed *feed;
    unsigned ready, feed_ups;
};

static struct loop loop;
static struct redis_server server;
static struct side hub, other, worker;

/* ---- what was told ----------------------------------------------------------------------------------- */

#define TOLD 64
static struct {
    unsigned count;
    struct {
        char from, code, id[ID_SIZE];
        uint64_t seq, rev;
        char body[1024];
    } events[TOLD];
    unsigned bells, cancels, audios, admins;
    unsigned done;
    enum queue_code code;
    struct queue_submitted submitted;
    struct queue_fused_done fused;
    struct {
        char id[ID_SIZE], owner[32], args[64];
        unsigned attempt;
    } leased;
    size_t leased_count;
    struct queue_answer answer;
    char json[8192];
    size_t lost, cancelled;
    struct queue_audio audio;
    char bytes[64];
    struct owner_position position;
    unsigned replayed;
    bool gap;
    bool clean;
} told;

static void note_event(char from, const struct event *event)
{
    unsigned i = told.count++;
    if (i >= TOLD)
        return;
    told.events[i].from = from;
    told.events[i].code = event->type->code;
    told.events[i].seq = event->seq;
    told.events[i].rev = event->rev;
    snprintf(told.events[i].id, ID_SIZE, "%s", event->task_id);
    snprintf(told.events[i].body, sizeof told.events[i].body, "%.*s", (int)event->size, event->body);
}

/* The codes of all events told so far, each behind the letter of who told it. */
static const char *codes(void)
{
    static char text[2 * TOLD + 1];
    size_t n = 0;
    for (unsigned i = 0; i < told.count && i < TOLD; i++) {
        text[n++] = told.events[i].from;
        text[n++] = told.events[i].code;
    }
    text[n] = '\0';
    return text;
}

static void on_own(void *ctx, const char *owner, struct event *event)
{
    (void)owner;
    note_event(*(const char *)ctx, event);
}

static void on_bell(void *ctx, const char *queue)
{
    (void)ctx;
    (void)queue;
    told.bells++;
}

static void on_cancel(void *ctx, const char *id, unsigned attempt)
{
    (void)ctx;
    (void)id;
    (void)attempt;
    told.cancels++;
}

static void on_audio_bell(void *ctx, const char *id)
{
    (void)ctx;
    (void)id;
    told.audios++;
}

static void on_admin(void *ctx, const char *owner, struct event *event)
{
    (void)ctx;
    (void)owner;
    (void)event;
    told.admins++;
}

static void on_done(void *ctx, enum queue_code code)
{
    (void)ctx;
    told.code = code;
    told.done++;
}

static void on_submitted(void *ctx, const struct queue_submitted *submitted)
{
    (void)ctx;
    told.submitted = *submitted;
    told.done++;
}

static void on_fused(void *ctx, const struct queue_fused_done *done)
{
    (void)ctx;
    told.fused = *done;
    told.done++;
}

static void on_leased(void *ctx, enum queue_code code, const struct queue_leased *tasks, size_t count,
                      uint64_t next_due_ms)
{
    (void)ctx;
    (void)next_due_ms;
    told.code = code;
    told.leased_count = count;
    if (count) {
        snprintf(told.leased.id, sizeof told.leased.id, "%s", tasks[0].id);
        snprintf(told.leased.owner, sizeof told.leased.owner, "%s", tasks[0].owner);
        snprintf(told.leased.args, sizeof told.leased.args, "%.*s", SPAN_ARG(tasks[0].args));
        told.leased.attempt = tasks[0].attempt;
    }
    told.done++;
}

static void on_answer(void *ctx, const struct queue_answer *answer)
{
    (void)ctx;
    told.answer = *answer;
    snprintf(told.json, sizeof told.json, "%.*s", SPAN_ARG(answer->json));
    told.done++;
}

static void on_beat(void *ctx, enum queue_code code, const char *const *lost, size_t lost_count,
                    const char *const *cancelled, size_t cancelled_count)
{
    (void)ctx;
    (void)lost;
    (void)cancelled;
    told.code = code;
    told.lost = lost_count;
    told.cancelled = cancelled_count;
    told.done++;
}

static void on_audio(void *ctx, const struct queue_audio *audio)
{
    (void)ctx;
    told.audio = *audio;
    told.done++;
}

static void on_bytes(void *ctx, enum queue_code code, struct span bytes, bool ended, uint64_t total)
{
    (void)ctx;
    told.audio = (struct queue_audio){code, total, ended};
    snprintf(told.bytes, sizeof told.bytes, "%.*s", SPAN_ARG(bytes));
    told.done++;
}

static void on_position(void *ctx, const struct owner_position *position)
{
    (void)ctx;
    told.position = *position;
    told.done++;
}

static void on_replay(void *ctx, const struct owner_replay *replay)
{
    (void)ctx;
    told.replayed = (unsigned)replay->count;
    told.gap = replay->gap;
    for (size_t i = 0; i < replay->count; i++)
        note_event('r', replay->events[i]);
    told.done++;
}

static void on_report(void *ctx, bool clean, struct span json)
{
    (void)ctx;
    told.clean = clean;
    snprintf(told.json, sizeof told.json, "%.*s", SPAN_ARG(json));
    told.done++;
}

/* ---- running ------------------------------------------------------------------------------------------ */

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* Runs the loop until *counter reaches `want`, at most 10 s. */
static bool reach(const unsigned *counter, unsigned want)
{
    uv_timer_t timer;
    uint64_t end = uv_now(&loop.uv) + 10000;
    uv_timer_init(&loop.uv, &timer);
    uv_timer_start(&timer, on_tick, 5, 5);
    while (*counter < want && uv_now(&loop.uv) < end)
        uv_run(&loop.uv, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    return *counter >= want;
}

/* Waits for n more callbacks. */
static void finish(unsigned n)
{
    unsigned want = told.done + n;
    if (!reach(&told.done, want))
        ok(false, "an answer came in time");
}

static void forget_events(void)
{
    told.count = 0;
}

static void on_ready(void *ctx, enum queue_code code, const char *reason)
{
    struct side *side = ctx;
    if (code == QUEUE_OK)
        side->ready++;
    else
        diag("not ready: %s", reason);
}

static void on_commands_up(void *ctx)
{
    struct side *side = ctx;
    queue_load(side->queue, on_ready, side);
}

static void on_subscriber_up(void *ctx)
{
    struct side *side = ctx;
    side->feed_ups++;
    queue_feed_up(side->feed);
}

static void open_side(struct side *side, const char *name, bool is_hub, const char *letter)
{
    struct redis_url url;
    const char *reason;
    if (!redis_url_parse(server.url, &url, &reason))
        abort();
    struct queue_config config = {.origin = name,
                                  .hub = is_hub,
                                  .lease_ms = 15000,
                                  .user_tasks = 5,
                                  .global_tasks = 20,
                                  .retention_heavy_ms = 86400000,
                                  .retention_light_ms = 3600000};
    *side = (struct side){0};
    side->commands = redis_new(&loop, &url, 5000, (struct redis_hooks){on_commands_up, NULL, side});
    side->subscriber = redis_new(&loop, &url, 0, (struct redis_hooks){on_subscriber_up, NULL, side});
    void *ctx = (void *)(uintptr_t)letter;
    side->queue = queue_new(&loop, side->commands, &config, (struct queue_hooks){on_own, ctx});
    side->feed =
        queue_feed_new(side->queue, side->subscriber,
                       (struct queue_feed_hooks){on_own, on_bell, on_cancel, on_audio_bell, on_admin, ctx});
    redis_url_free(&url);
    ok(reach(&side->ready, 1) && reach(&side->feed_ups, 1), "%s is ready", name);
}

static void close_side(struct side *side)
{
    queue_feed_free(&side->feed);
    redis_free(&side->commands);
    redis_free(&side->subscriber);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    queue_free(&side->queue);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static struct queue_submit submission(const char *id, const char *owner)
{
    return (struct queue_submit){.id = id,
                                 .owner = owner,
                                 .task = "noop_heavy",
                                 .queue = "default",
                                 .args = SPAN("{\"steps\":3}"),
                                 .priority = 4,
                                 .max_attempts = 3,
                                 .backoff_base_ms = 1,
                                 .backoff_cap_ms = 1};
}

static void submit(const char *id, const char *owner)
{
    struct queue_submit call = submission(id, owner);
    queue_submit(hub.queue, &call, on_submitted, NULL);
    finish(1);
    is_int(told.submitted.code, QUEUE_OK, "submitted");
}

/* ---- tests ----------------------------------------------------------------------------------------------
 */

static const char *const owner = "u1";
static const struct queue_caller caller = {.owner = "u1"};

static void test_feed(void)
{
    struct owner_source source = queue_feed_source(hub.feed);
    queue_feed_listen_bell(worker.feed, "default");
    queue_feed_listen_control(worker.feed);
    source.attach(source.ctx, owner, on_position, NULL);
    finish(1);
    ok(told.position.ok && told.position.epoch[0], "attached, epoch %s", told.position.epoch);
    is_int(told.position.head, 0, "the log is empty");
    char epoch[24];
    snprintf(epoch, sizeof epoch, "%s", told.position.epoch);
    source.attach(source.ctx, owner, on_position, NULL);
    finish(1);
    is_text(told.position.epoch, epoch, "attached again: the epoch stays");
    ok(reach(&told.bells, 1), "the confirmed subscription rings");
}

static void test_cycle(void)
{
    char id[ID_SIZE];
    id_new(id);
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
                                  .attempt = 1,
                                  .percent = 40,
                                  .stage = "work\"ing",
                                  .message = SPAN("say \"hi\"\n\xff"),
                                  .meta = SPAN("{\"a\":\n1}")};
    queue_update(worker.queue, &update, on_done, NULL);
    struct queue_update line = {.kind = QUEUE_LOG, .id = id, .attempt = 1, .message = SPAN("a line")};
    queue_update(worker.queue, &line, NULL, NULL);
    struct queue_end end = {.kind = QUEUE_COMPLETED, .id = id, .attempt = 1, .result = SPAN("{\"n\":\n3}")};
    queue_end(worker.queue, &end, on_done, NULL);
    finish(3);
    is_int(told.code, QUEUE_OK, "ended");
    ok(reach(&told.count, 4), "the hub hears it");
    is_text(codes(), "hShPhLhC", "in order: started, progress, log, completed");
    is_int(told.events[0].seq, 2, "started carries seq");
    is_int(told.events[1].rev, 1, "progress carries rev");
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
    is_text(told.answer.status, "completed", "get: completed");
    is_int(told.answer.seq, 4, "its last event");
    ok(json_check(span_of(told.json), JSON_LIMITS, &(const char *){NULL}) == KIND_OBJECT, "get: JSON");
    ok(json_string_is(json_get(span_of(told.json), "user_id"), owner), "with its owner");
    forget_events();
}

/* The events of the log must be what was told live. */
static void test_replay(void)
{
    struct owner_source source = queue_feed_source(hub.feed);
    source.replay(source.ctx, owner, 0, 100, on_replay, NULL);
    finish(1);
    ok(!told.gap, "no gap");
    is_text(codes(), "rArSrLrC", "the log: accepted, started, log, completed");
    ok(strstr(told.events[3].body,
              "\"status\":\"completed\",\"stage\":\"completed\",\"progress\":100,\"attempt\":1,"
              "\"result\":{\"n\": 3}"),
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

/* The body a live event had is what C builds of the same parts. */
static void test_same_body(void)
{
    struct buf text = BUF_INIT;
    char id[ID_SIZE];
    id_new(id);
    submit(id, owner);
    queue_lease(worker.queue, "default", 4, on_leased, NULL);
    finish(1);
    queue_started(worker.queue, id, 1, NULL, NULL);
    struct queue_end end = {.kind = QUEUE_FAILED,
                            .id = id,
                            .attempt = 1,
                            .error_code = SPAN("bad_thing"),
                            .error = SPAN("It \"broke\" / \x01\x7f \xc3\xa4")};
    queue_end(worker.queue, &end, on_done, NULL);
    finish(1);
    reach(&told.count, 2);
    is_text(codes(), "hShX", "a start and an end of one turn");
    struct span at = json_get(span_of(told.events[1].body), "at");
    char at_text[32] = "";
    ok(json_string_copy(at, at_text, sizeof at_text), "it has a time");
    struct event_body body = {.task_id = id,
                              .task = "noop_heavy",
                              .user_id = owner,
                              .type = "failed",
                              .status = "failed",
                              .stage = "failed",
                              .attempt = 1,
                              .error_code = end.error_code,
                              .error = end.error,
                              .at_ms = clock_parse(at_text, strlen(at_text))};
    event_body_write(&text, &body);
    buf_append_char(&text, '\0');
    is_text(told.events[1].body, text.data, "Lua and C build the same text");
    buf_free(&text);
    forget_events();
    char again[ID_SIZE];
    id_new(again);
    queue_retry(hub.queue, &caller, id, again, on_answer, NULL);
    finish(1);
    is_int(told.answer.code, QUEUE_OK, "retried");
    ok(strstr(told.json, "\"type\":\"accepted\""), "with the body of its accepted event");
    queue_cancel(hub.queue, &caller, again, on_answer, NULL);
    finish(1);
    is_text(told.answer.status, "cancelled", "a waiting task is cancelled at once");
    is_text(codes(), "hK", "the hub that caused it is told by the reply");
    forget_events();
}

static void test_fused(void)
{
    char id[ID_SIZE];
    id_new(id);
    struct queue_fused task = {.id = id,
                               .owner = owner,
                               .task = "noop",
                               .created_ms = (uint64_t)clock_wall_ms(),
                               .started_ms = (uint64_t)clock_wall_ms(),
                               .result = SPAN("{\"x\":1}")};
    queue_fused(hub.queue, &task, on_fused, NULL);
    char failed[ID_SIZE];
    id_new(failed);
    struct queue_fused bad = task;
    bad.id = failed;
    bad.failed = true;
    bad.args = SPAN("{\"q\":2}");
    bad.error_code = SPAN("oops");
    bad.error = SPAN("no\nluck");
    queue_fused(hub.queue, &bad, on_fused, NULL);
    finish(2);
    is_int(told.fused.code, QUEUE_OK, "two light tasks recorded in one call");
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    ok(strstr(told.json, "\"result\":{\"x\":1}"), "the result is kept");
    queue_get(hub.queue, &caller, failed, on_answer, NULL);
    finish(1);
    ok(strstr(told.json, "\"error\":{\"code\":\"oops\",\"message\":\"no\\nluck\"}"), "the error too");
    queue_get(hub.queue, &(struct queue_caller){.owner = "u2"}, id, on_answer, NULL);
    finish(1);
    is_int(told.answer.code, QUEUE_FORBIDDEN, "somebody else is refused");
    queue_get(hub.queue, &(struct queue_caller){.owner = "u2", .any_read = true}, id, on_answer, NULL);
    finish(1);
    is_int(told.answer.code, QUEUE_OK, "a viewer is not");
    is_int(told.count, 0, "the hub builds the events of its own submissions itself");
    id_new(id);
    queue_retry(hub.queue, &caller, failed, id, on_answer, NULL);
    finish(1);
    is_int(told.answer.code, QUEUE_OK, "a failed light task is retried");
    queue_lease(hub.queue, "light", 1, on_leased, NULL);
    finish(1);
    is_text(told.leased.args, "{\"q\":2}", "with its arguments");
    queue_release(hub.queue, told.leased.id, told.leased.attempt, on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_OK, "given back");
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    forget_events();
}

static void test_cancel_running(void)
{
    char id[ID_SIZE];
    id_new(id);
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
    struct queue_end end = {.kind = QUEUE_COMPLETED, .id = id, .attempt = 1};
    queue_end(worker.queue, &end, on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_OK, "its completion");
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    is_text(told.answer.status, "cancelled", "makes it cancelled");
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
    id_new(id);
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
    id_new(id);
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
    queue_audio_state(hub.queue, "u2", id, on_audio, NULL);
    finish(1);
    is_int(told.audio.code, QUEUE_FORBIDDEN, "another owner is refused");
    queue_audio_fail(hub.queue, owner, id, "flow", "Too many bytes", on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_OK, "failed from outside");
    queue_audio_state(hub.queue, owner, id, on_audio, NULL);
    finish(1);
    is_int(told.audio.code, QUEUE_STATE, "then it is over");
    forget_events();
}

static void test_two_hubs(void)
{
    struct owner_source source = queue_feed_source(other.feed);
    char id[ID_SIZE];
    source.attach(source.ctx, owner, on_position, NULL);
    finish(1);
    id_new(id);
    submit(id, owner);
    ok(reach(&told.count, 1), "the other hub hears of a submission");
    is_text(codes(), "oA", "it alone");
    queue_cancel(other.queue, &caller, id, on_answer, NULL);
    finish(1);
    ok(reach(&told.count, 3), "both hear of the cancel");
    forget_events();
    queue_notify(other.queue, owner, "n1", SPAN("{\"id\":\"n1\",\"title\":\"Hi\"}"), on_done, NULL);
    queue_notify(other.queue, owner, "n1", SPAN("{\"id\":\"n1\",\"title\":\"Hi\"}"), on_done, NULL);
    finish(2);
    ok(reach(&told.count, 2), "a notification");
    is_int(told.count, 2, "once per id and hub");
    ok(strstr(told.events[0].body, "\"user_id\":\"u1\"") && strstr(told.events[0].body, "\"at\":\""),
       "names its owner and time: %s", told.events[0].body);
    forget_events();
    queue_feed_watch(other.feed, true);
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    queue_get(other.queue, &caller, id, on_answer, NULL);
    finish(2);
    id_new(id);
    submit(id, "u9");
    ok(reach(&told.admins, 1), "an admin's feed shows owners nobody listens to");
    queue_feed_watch(other.feed, false);
    queue_cancel(hub.queue, &(struct queue_caller){.owner = "u9"}, id, on_answer, NULL);
    finish(1);
    source.detach(source.ctx, owner);
    forget_events();
}

static void test_reclaim(void)
{
    char id[ID_SIZE];
    id_new(id);
    submit(id, owner);
    queue_lease(worker.queue, "default", 1, on_leased, NULL);
    finish(1);
    queue_started(worker.queue, id, 1, on_done, NULL);
    finish(1);
    close_side(&worker);
    open_side(&worker, "w one", false, "w");
    queue_reclaim(worker.queue, on_done, NULL);
    finish(1);
    is_int(told.code, QUEUE_OK, "the next incarnation gives the leases back");
    queue_lease(worker.queue, "default", 1, on_leased, NULL);
    finish(1);
    is_text(told.leased.id, id, "and gets the task again");
    is_int(told.leased.attempt, 2, "as the second attempt");
    struct queue_end end = {.kind = QUEUE_DIED, .id = id, .attempt = 2};
    queue_started(worker.queue, id, 2, on_done, NULL);
    queue_end(worker.queue, &end, on_done, NULL);
    finish(2);
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    is_text(told.answer.status, "failed", "two deaths end it");
    ok(strstr(told.json, "\"worker_lost\""), "as worker_lost");
    forget_events();
}

static void test_audit(void)
{
    audit_run(hub.queue, on_report, NULL);
    finish(1);
    ok(told.clean, "the auditor finds nothing: %s", told.json);
    ok(json_check(span_of(told.json), JSON_LIMITS, &(const char *){NULL}) == KIND_OBJECT,
       "its report is JSON");
    redis_callv(hub.commands, NULL, NULL, "HSET", "th:{0}:o:u1", "act", "7", NULL);
    audit_run(hub.queue, on_report, NULL);
    finish(1);
    ok(!told.clean && strstr(told.json, "counts 7 active tasks"), "a wrong counter is found: %s", told.json);
    redis_callv(hub.commands, NULL, NULL, "HSET", "th:{0}:o:u1", "act", "0", NULL);
}

static void test_many(void)
{
    for (int i = 0; i < 1000; i++) {
        char id[ID_SIZE];
        id_new(id);
        struct queue_fused task = {.id = id, .owner = "u5", .task = "noop", .created_ms = 1, .started_ms = 1};
        queue_fused(hub.queue, &task, on_fused, NULL);
    }
    finish(1000);
    is_int(told.fused.seq, 1000, "a thousand of one turn, in several calls, in order");
}

static void test_loss(void)
{
    char id[ID_SIZE];
    struct owner_source source = queue_feed_source(hub.feed);
    unsigned ready = hub.ready, ups = hub.feed_ups;
    id_new(id);
    redis_server_kill(&server);
    struct queue_submit call = submission(id, owner);
    queue_submit(hub.queue, &call, on_submitted, NULL);
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(2);
    is_int(told.submitted.code, QUEUE_UNAVAILABLE, "no Redis: unavailable");
    is_int(told.answer.code, QUEUE_UNAVAILABLE, "reads too");
    reach(&told.done, told.done);
    while (redis_is_up(hub.subscriber))
        uv_run(&loop.uv, UV_RUN_ONCE);
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
    signal(SIGPIPE, SIG_IGN);
    if (sodium_init() < 0 || !redis_server_new(&server))
        skip_all("no redis-server");
    if (loop_init(&loop) != 0)
        abort();
    open_side(&hub, "hub/1", true, "h");
    open_side(&other, "hub2", true, "o");
    open_side(&worker, "w one", false, "w");
    test_feed();
    test_cycle();
    test_replay();
    test_same_body();
    test_fused();
    test_cancel_running();
    test_lists();
    test_audio();
    test_two_hubs();
    test_reclaim();
    test_many();
    test_audit();
    test_loss();
    close_side(&worker);
    close_side(&other);
    close_side(&hub);
    loop_deinit(&loop);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(uv_loop_close(&loop.uv), 0, "no handle is left");
    redis_server_free(&server);
    return done_testing();
}
