/* SPDX-License-Identifier: MIT */
/* Shared by the tests of the queue's client: processes as the queue sees them, each with its connections, on
 * one loop and one real redis-server; and a record of all callbacks. */
#pragma once

#include "hub/json/json.h"
#include "tasks/queue/audit.h"
#include "tasks/queue/event_text.h"
#include "tasks/queue/queue.h"
#include "tasks/queue/shard.h"

#include "tests/lib/redis_server.h"
#include "tests/lib/wait.h"

#include <sodium.h>

struct side { /* a process as the queue sees it */
    struct redis *commands, *subscriber;
    struct queue *queue;
    struct queue_feed *feed;
    unsigned ready, feed_ups;
};

static struct redis_server server;
static struct side hub, other, worker;

/* ---- what was told ---- */

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
    struct {
        char id[ID_SIZE], owner[32], args[400];
        char effect_id[ID_SIZE];
        unsigned attempt, fence, rev;
    } leased;
    struct queue_reported reported; /* reports of that attempt */
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

static inline void note_event(char from, const struct event *event)
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

/* The codes of all events so far, each after the letter of the process that got it. */
static inline const char *codes(void)
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

static inline void on_own(void *ctx, const char *owner, struct event *event)
{
    (void)owner;
    note_event(*(const char *)ctx, event);
}

static inline void on_bell(void *ctx, const char *queue)
{
    (void)ctx;
    (void)queue;
    told.bells++;
}

static inline void on_cancel(void *ctx, const char *id, unsigned fence)
{
    (void)ctx;
    (void)id;
    (void)fence;
    told.cancels++;
}

static inline void on_audio_bell(void *ctx, const char *id)
{
    (void)ctx;
    (void)id;
    told.audios++;
}

static inline void on_admin(void *ctx, const char *owner, struct event *event)
{
    (void)ctx;
    (void)owner;
    (void)event;
    told.admins++;
}

static inline void on_done(void *ctx, enum queue_code code)
{
    (void)ctx;
    told.code = code;
    told.done++;
}

static inline void on_submitted(void *ctx, const struct queue_submitted *submitted)
{
    (void)ctx;
    told.submitted = *submitted;
    told.done++;
}

static inline void on_leased(void *ctx, enum queue_code code, const struct queue_leased *tasks, size_t count,
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
        snprintf(told.leased.effect_id, sizeof told.leased.effect_id, "%s", tasks[0].effect_id);
        told.leased.attempt = tasks[0].attempt;
        told.leased.fence = tasks[0].fence;
        told.leased.rev = tasks[0].rev;
        told.reported = (struct queue_reported){.rev = tasks[0].rev};
    }
    told.done++;
}

static inline void on_answer(void *ctx, const struct queue_answer *answer)
{
    (void)ctx;
    told.answer = *answer;
    snprintf(told.json, sizeof told.json, "%.*s", SPAN_ARG(answer->json));
    struct span json = answer->json.n ? answer->json : SPAN("{}");
    struct span status = json_get(json, "status"), stage = json_get(json, "stage");
    if (status.p && (!json_string_copy(status, told.answer.status, sizeof told.answer.status) ||
                     !json_string_copy(stage, told.answer.stage, sizeof told.answer.stage)))
        diag("a task without status or stage: %s", told.json);
    told.done++;
}

static inline void on_beat(void *ctx, enum queue_code code, const struct queue_beat_item *lost,
                           size_t lost_count, const struct queue_beat_item *cancelled, size_t cancelled_count)
{
    (void)ctx;
    (void)lost;
    (void)cancelled;
    told.code = code;
    told.lost = lost_count;
    told.cancelled = cancelled_count;
    told.done++;
}

static inline void on_audio(void *ctx, const struct queue_audio *audio)
{
    (void)ctx;
    told.audio = *audio;
    told.done++;
}

static inline void on_bytes(void *ctx, enum queue_code code, struct span bytes, bool ended, uint64_t total)
{
    (void)ctx;
    told.audio = (struct queue_audio){code, total, ended};
    snprintf(told.bytes, sizeof told.bytes, "%.*s", SPAN_ARG(bytes));
    told.done++;
}

static inline void on_position(void *ctx, const struct owner_position *position)
{
    (void)ctx;
    told.position = *position;
    told.done++;
}

static inline void on_replay(void *ctx, const struct owner_replay *replay)
{
    (void)ctx;
    told.replayed = (unsigned)replay->count;
    told.gap = replay->gap;
    for (size_t i = 0; i < replay->count; i++)
        note_event('r', replay->events[i]);
    told.done++;
}

static inline void on_report(void *ctx, bool clean, struct span json)
{
    (void)ctx;
    told.clean = clean;
    snprintf(told.json, sizeof told.json, "%.*s", SPAN_ARG(json));
    told.done++;
}

/* ---- running ---- */

/* Waits for n more callbacks. */
static inline void finish(unsigned n)
{
    unsigned want = told.done + n;
    if (!reach(&told.done, want))
        ok(false, "an answer came in time");
}

static inline void forget_events(void)
{
    told.count = 0;
}

static inline void on_ready(void *ctx, enum queue_code code, const char *reason)
{
    struct side *side = ctx;
    if (code == QUEUE_OK)
        side->ready++;
    else
        diag("not ready: %s", reason);
}

static inline void on_commands_up(void *ctx)
{
    struct side *side = ctx;
    queue_load(side->queue, on_ready, side);
}

static inline void on_subscriber_up(void *ctx)
{
    struct side *side = ctx;
    side->feed_ups++;
    queue_feed_up(side->feed);
}

/* Connects a process without waiting for it. */
static inline void connect_side(struct side *side, const char *name, bool is_hub,
                                struct queue_feed_hooks hooks)
{
    struct redis_url url;
    if (redis_url_parse(server.url, &url))
        abort();
    struct queue_config config = {.origin = name,
                                  .hub = is_hub,
                                  .lease_ms = 15000,
                                  .user_tasks = 5,
                                  .global_tasks = 20,
                                  .user_light = 64,
                                  .user_delayed = 100,
                                  .retention_heavy_ms = 86400000,
                                  .retention_light_ms = 3600000};
    *side = (struct side){0};
    side->commands = redis_new(&loop, &url, 5000, (struct redis_hooks){on_commands_up, NULL, side});
    side->subscriber = redis_new(&loop, &url, 0, (struct redis_hooks){on_subscriber_up, NULL, side});
    side->queue = queue_new(&loop, side->commands, &config,
                            (struct queue_hooks){.on_event = hooks.on_event, .ctx = hooks.ctx});
    side->feed = queue_feed_new(side->queue, side->subscriber, hooks);
    redis_url_free(&url);
}

static inline void open_side(struct side *side, const char *name, bool is_hub, const char *letter)
{
    connect_side(side, name, is_hub,
                 (struct queue_feed_hooks){.on_event = on_own,
                                           .on_bell = on_bell,
                                           .on_cancel = on_cancel,
                                           .on_audio = on_audio_bell,
                                           .on_admin = on_admin,
                                           .ctx = (void *)(uintptr_t)letter});
    ok(reach(&side->ready, 1) && reach(&side->feed_ups, 1), "%s is ready", name);
}

static inline void on_side_left(void *ctx, enum queue_code code)
{
    unsigned *left = ctx;
    *left += code == QUEUE_OK;
}

/* Gives its name back, so that the next process of that name need not wait. */
static inline void leave_side(struct side *side)
{
    static unsigned left;
    left = 0;
    if (!redis_is_up(side->commands))
        return;
    queue_leave(side->queue, on_side_left, &left);
    reach(&left, 1);
}

static inline void close_side(struct side *side)
{
    queue_feed_free(&side->feed);
    redis_free(&side->commands);
    redis_free(&side->subscriber);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    queue_free(&side->queue);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static inline struct queue_submit submission(const char *id, const char *owner)
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

static inline void submit(const char *id, const char *owner)
{
    struct queue_submit call = submission(id, owner);
    queue_submit(hub.queue, &call, on_submitted, NULL);
    finish(1);
    is_int(told.submitted.code, QUEUE_OK, "submitted");
}

static const char *const owner = "u1";
static const struct queue_caller caller = {.owner = "u1"};

/* Attaches the owner at the first hub; the worker listens, too. */
static inline void attach_first(void)
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

static inline bool sides_open(void)
{
    signal(SIGPIPE, SIG_IGN);
    if (sodium_init() < 0 || !redis_server_new(&server))
        return false;
    if (loop_init(&loop) != 0)
        abort();
    open_side(&hub, "hub/1", true, "h");
    open_side(&other, "hub2", true, "o");
    open_side(&worker, "w one", false, "w");
    return true;
}

static inline void sides_close(void)
{
    close_side(&worker);
    close_side(&other);
    close_side(&hub);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(loop_deinit(&loop), 0, "no handle is left");
    redis_server_free(&server);
}
