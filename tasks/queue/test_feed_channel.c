/* SPDX-License-Identifier: MIT */
/* The one channel of a hub (tasks/queue/feed.c) against a real redis-server: what a message becomes,
 * who hears what, and what the loss of the connection leaves behind. */
#include "tests/lib/queue_side.h"

#include "hub/base/metrics.h"
#include "tasks/queue/client_private.h"
#include "tasks/queue/usage.h"

#define ID "01a202a3-586f-71c8-8a1c-1011487995e6"
#define LINE(seq, code) "=" seq " 0 " code " 1 " ID " 1795000000000 0 noop\n"

static struct { /* the messages of the channel as they came */
    unsigned count;
    char last[4096];
} raw;

static void on_raw(void *ctx, const redisReply *reply)
{
    (void)ctx;
    if (reply == NULL || strcmp(reply->element[0]->str, "message") != 0)
        return;
    snprintf(raw.last, sizeof raw.last, "%s", reply->element[2]->str);
    raw.count++;
}

static void on_count(void *ctx, const redisReply *reply)
{
    unsigned *count = ctx;
    *count = reply && reply->type == REDIS_REPLY_ARRAY ? (unsigned)reply->elements : 0;
    told.done++;
}

/* "u1S u2C ": owners and codes of the events told so far. */
static const char *heard(void)
{
    static char text[1024];
    size_t n = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < told.count && i < TOLD && n < 900; i++) {
        char name[32] = "?";
        if (!json_string_copy(json_get(span_of(told.events[i].body), "user_id"), name, sizeof name))
            diag("no user_id: %s", told.events[i].body);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%c ", name, told.events[i].code);
    }
    return text;
}

static const char *channel(void)
{
    static char name[128];
    snprintf(name, sizeof name, "th:{0}:hub:%s", hub.queue->holder);
    return name;
}

static void publish(const char *message)
{
    redis_callv(worker.commands, NULL, NULL, "PUBLISH", channel(), message, NULL);
}

static void attach(struct side *side, const char *name)
{
    struct owner_source source = queue_feed_source(side->feed);
    source.attach(source.ctx, name, on_position, NULL);
    finish(1);
    ok(told.position.ok, "%s is attached", name);
}

/* ---- calls of one turn --------------------------------------------------------------------------------- */

#define CROWD 150
static struct owner_position positions[CROWD];

static void on_place(void *ctx, const struct owner_position *position)
{
    *(struct owner_position *)ctx = *position;
    told.done++;
}

static const char *nth(char to[static 8], unsigned i)
{
    snprintf(to, 8, "c%u", i);
    return to;
}

/* Whether each has the position of its own log; that of number i has i % 3 events. */
static bool positions_fit(void)
{
    for (unsigned i = 0; i < CROWD; i++)
        if (!positions[i].ok || positions[i].epoch[0] == '\0' || positions[i].head != i % 3)
            return false;
    return true;
}

static void attach_crowd(const struct owner_source *source)
{
    char name[8];
    memset(positions, 0, sizeof positions);
    for (unsigned i = 0; i < CROWD; i++)
        source->attach(source->ctx, nth(name, i), on_place, &positions[i]);
}

/* Many owners attached in one turn take few calls. */
static void test_crowd(void)
{
    struct owner_source source = queue_feed_source(hub.feed);
    char name[8], id[ID_SIZE];
    unsigned count;
    attach(&hub, "u1");
    for (unsigned i = 0; i < CROWD; i++)
        for (unsigned n = 0; n < i % 3; n++) {
            shard_task_id(id, span_of(owner));
            redis_callv(worker.commands, on_count, &count, "FCALL", FUNCTION("notify"), "1", "th:{0}:", "w:w",
                        "w", nth(name, i), id, "{}", NULL);
        }
    finish(CROWD);
    uint64_t calls = metrics[METRIC_REDIS_CALLS];
    attach_crowd(&source);
    finish(CROWD);
    is_int(metrics[METRIC_REDIS_CALLS] - calls, 3, "three calls attach 150 owners");
    ok(positions_fit(), "and tell each where its log stands");
    unsigned done = told.done;
    attach_crowd(&source);
    attach_crowd(&source);
    finish(CROWD);
    ok(positions_fit() && told.done == done + CROWD, "asked twice in one turn: answered once");
    calls = metrics[METRIC_REDIS_CALLS];
    for (unsigned i = 0; i < CROWD; i++)
        usage_session(hub.queue, nth(name, i), "s", 2000000000);
    attach(&hub, "u1");
    is_int(metrics[METRIC_REDIS_CALLS] - calls, 8, "seven calls register 150 sessions");
    for (unsigned i = 0; i < CROWD; i++)
        source.detach(source.ctx, nth(name, i));
    attach(&hub, "u1");
    is_int(metrics[METRIC_REDIS_CALLS] - calls, 12, "three detach the owners");
    redis_callv(worker.commands, on_count, &count, "ZRANGE", "th:{0}:ses", "0", "-1", NULL);
    finish(1);
    is_int(count, CROWD, "each session is registered");
}

/* ---- messages ------------------------------------------------------------------------------------------ */

static void test_channels(void)
{
    unsigned count = 0;
    attach(&hub, "u1");
    attach(&hub, "u2");
    attach(&hub, "u@x");
    redis_callv(worker.commands, on_count, &count, "PUBSUB", "CHANNELS", "th:{0}:hub:*", NULL);
    finish(1);
    is_int(count, 2, "one channel per hub, whatever it attached; none for a worker");
}

static void test_messages(void)
{
    char name[OWNER_SIZE + 1];
    struct buf odd = BUF_INIT;
    publish("@u1\n" LINE("1", "S") LINE("2", "C")          /* two lines */
            "@u2\n" LINE("1", "S") "@u@x\n" LINE("1", "K") /* others */
            "@u1\n@u2\n=2 0 X 1 " ID " 1 0 noop");         /* an empty part, no newline at the end */
    reach(&told.count, 5);
    is_text(heard(), "u1S u1C u2S u@xK u2X ", "every line goes to the owner named before it");
    forget_events();
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    publish("");
    publish("\n\n@\n@");
    buf_printf(&odd, LINE("1", "S") "@nobody\n" LINE("2", "S") "@%s\n" LINE("3", "S"), name);
    buf_append_text(&odd, "@u1\n\n=nonsense\nnonsense\n@\n" LINE("4", "S") "@u2 \n" LINE("5", "S"));
    buf_append_text(&odd, "@u2\n=6 0 S 1 not-an-id 1 0 noop\n" LINE("7", "S"));
    buf_append_char(&odd, '\0');
    publish(odd.data);
    publish("@u1\n" LINE("8", "C"));
    reach(&told.count, 2);
    is_text(heard(), "u2S u1C ", "lines of nobody, of strangers, and lines that are none are skipped");
    buf_free(&odd);
    forget_events();
}

/* ---- who hears what ------------------------------------------------------------------------------------ */

static char ids[3][ID_SIZE]; /* of u1, u2, u3 */

static void submit_three(void)
{
    for (unsigned i = 0; i < 3; i++) {
        const char *name = (const char *[]){"u1", "u2", "u3"}[i];
        shard_task_id(ids[i], span_of(name));
        submit(ids[i], name);
    }
    queue_lease(worker.queue, "default", 3, on_leased, NULL);
    finish(1);
    is_int(told.leased_count, 3, "a task of each is leased");
}

static void start_three(void)
{
    for (unsigned i = 0; i < 3; i++)
        queue_started(worker.queue, ids[i], 1, on_done, NULL);
    finish(3);
}

static void end_three(void)
{
    for (unsigned i = 0; i < 3; i++) {
        struct queue_end end = {
            .kind = QUEUE_COMPLETED, .id = ids[i], .fence = 1, .result = SPAN("{\"n\":1}")};
        queue_end(worker.queue, &end, on_done, NULL);
    }
    finish(3);
    is_int(told.code, QUEUE_OK, "they end");
}

static void test_one_call(void)
{
    struct owner_source source = queue_feed_source(hub.feed);
    redis_subscribe(other.subscriber, on_raw, NULL, span_of(channel()));
    submit_three();
    is_text(heard(), "", "what the hub submits is not told to itself");
    start_three();
    reach(&told.count, 2);
    reach(&raw.count, 1);
    is_text(heard(), "u1S u2S ", "one call of a worker: each owner is told of its own");
    is_int(raw.count, 1, "by one message");
    ok(strstr(raw.last, "@u1\n=") && strstr(raw.last, "@u2\n="), "that names both: %s", raw.last);
    ok(strstr(raw.last, "u3") == NULL, "and not the one that nobody attached");
    forget_events();
    source.detach(source.ctx, "u2");
    attach(&hub, "u1");
    end_three();
    reach(&told.count, 1);
    reach(&raw.count, 2);
    is_text(heard(), "u1C ", "an owner that was detached is not heard");
    ok(strstr(raw.last, "u2") == NULL, "nor sent any more: %s", raw.last);
    redis_unsubscribe(other.subscriber, span_of(channel()));
    attach(&hub, "u2");
    forget_events();
}

/* ---- loss ---------------------------------------------------------------------------------------------- */

/* Only the subscriptions are lost; events in the meantime have no listener. */
static void test_killed(void)
{
    struct owner_source source = queue_feed_source(hub.feed);
    unsigned ups = hub.feed_ups, others = other.feed_ups;
    attach(&hub, "u2");
    uint64_t second = told.position.head;
    attach(&hub, "u1");
    uint64_t first = told.position.head;
    submit_three();
    redis_callv(worker.commands, NULL, NULL, "CLIENT", "KILL", "TYPE", "pubsub", NULL);
    start_three();
    ok(reach(&hub.feed_ups, ups + 1) && reach(&other.feed_ups, others + 1), "the subscribers are back");
    is_int(told.count, 0, "what happened meanwhile was not heard");
    attach(&hub, "u1");
    is_int(told.position.head, first + 2, "but the log has it");
    source.replay(source.ctx, "u1", first, 100, on_replay, NULL);
    finish(1);
    is_text(codes(), "rArS", "and replays it");
    forget_events();
    end_three();
    reach(&told.count, 2);
    is_text(heard(), "u1C u2C ", "events flow again, also for an owner that nobody attached anew");
    forget_events();
    source.replay(source.ctx, "u2", second, 100, on_replay, NULL);
    finish(1);
    is_text(codes(), "rArSrC", "whose log has everything, too");
    forget_events();
}

/* An attach fails if its answer would promise what cannot be kept. */
static void test_lost_attach(void)
{
    struct side lone;
    open_side(&lone, "lone", true, "l");
    queue_feed_free(&lone.feed);
    lone.feed = queue_feed_new(lone.queue, lone.subscriber, (struct queue_feed_hooks){0});
    struct owner_source source = queue_feed_source(lone.feed);
    unsigned done = told.done;
    source.attach(source.ctx, "u1", on_position, NULL);
    source.attach(source.ctx, "u2", on_position, NULL);
    is_int(told.done, done, "attaching waits for the subscription");
    finish(2);
    ok(told.position.ok, "and is answered then");
    kill(server.pid, SIGSTOP);
    done = told.done;
    source.attach(source.ctx, "u1", on_position, NULL);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    is_int(told.done, done, "the call is under way");
    redis_free(&lone.subscriber);
    kill(server.pid, SIGCONT);
    is_int(told.done, done + 1, "no subscription any more: answered at once");
    ok(!told.position.ok, "as failed");
    close_side(&lone);
    open_side(&lone, "lone", true, "l");
    queue_feed_free(&lone.feed);
    lone.feed = queue_feed_new(lone.queue, lone.subscriber, (struct queue_feed_hooks){0});
    source = queue_feed_source(lone.feed);
    told.position.ok = true;
    source.attach(source.ctx, "u1", on_position, NULL);
    done = told.done;
    redis_free(&lone.subscriber);
    is_int(told.done, done + 1, "one that waits for the subscription as well");
    ok(!told.position.ok, "has failed");
    close_side(&lone);
}

int main(void)
{
    if (!sides_open())
        skip_all("no redis-server");
    test_channels();
    test_crowd();
    test_messages();
    test_one_call();
    test_killed();
    test_lost_attach();
    sides_close();
    return done_testing();
}
