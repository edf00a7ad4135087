/* What the tests of owners stand on: members that record what they were given, and a log that answers
 * when the test says so. Time passes by calling the ticks. Included by one program each. */
#pragma once

#include "hub/base/loop.h"
#include "hub/owners/owners_private.h"
#include "tests/lib/tap.h"

#include <sodium.h>

/* ---- members that record --------------------------------------------------------------------- */
struct recorder {
    struct member *member;
    char log[4096]; /* "41 T42 43 P7 lost " */
    bool slow;
};

static struct recorder *recorders[64];
static size_t recorder_count;

static inline void record(struct recorder *recorder, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void record(struct recorder *recorder, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    size_t n = strlen(recorder->log);
    vsnprintf(recorder->log + n, sizeof recorder->log - n, fmt, args);
    va_end(args);
}

static void on_event(void *to, struct event *event)
{
    if (event->seq)
        record(to, "%d ", (int)event->seq);
    else
        record(to, "%c%d ", event->type->code, (int)event->rev);
}

static void on_skip(void *to, uint64_t seq)
{
    record(to, "T%d ", (int)seq);
}

static bool is_slow(const void *to)
{
    return ((const struct recorder *)to)->slow;
}

static void on_lost(void *to, const char *reason)
{
    (void)reason;
    record(to, "lost ");
}

static struct recorder *new_recorder(void)
{
    static const struct member_ops ops = {on_event, on_skip, is_slow, on_lost};
    struct recorder *recorder = xcalloc(1, sizeof *recorder);
    recorder->member = member_new(&ops, recorder);
    recorders[recorder_count++] = recorder;
    return recorder;
}

/* ---- a log that answers when the test says so ------------------------------------------------- */
static struct {
    bool up, at_once;
    const char *epoch;
    uint64_t head, trimmed; /* events 1 … trimmed are gone */
    char codes[20000];      /* by seq; 0 = 'A' */
    char tasks[20000];      /* by seq; task letter, 0 = 'a' */
    unsigned attaches, detaches, replays, last_max;
    uint64_t last_after;
    struct call {
        owner_position_fn *position;
        owner_replay_fn *replay;
        void *ctx;
        uint64_t after;
        size_t max;
    } calls[64];
    size_t count;
} source;

static const char *task_name(char letter)
{
    static char text[4][ID_SIZE];
    static unsigned at;
    char *to = text[at++ % 4];
    snprintf(to, ID_SIZE, "01980000-0000-7000-8000-0000000000%c%c", letter, letter);
    return to;
}

static struct event *make(char code, uint64_t seq, uint64_t rev, uint64_t attempt, char task)
{
    return event_new(code, seq, rev, attempt, span_of(task_name(task)), SPAN("{\"task_id\":\"x\"}"));
}

static struct event *logged(uint64_t seq)
{
    char code = source.codes[seq] ? source.codes[seq] : 'A';
    return make(code, seq, 0, 1, source.tasks[seq] ? source.tasks[seq] : 'a');
}

static void answer(struct call call)
{
    if (call.position) {
        struct owner_position at = {.ok = source.up, .head = source.head};
        snprintf(at.epoch, sizeof at.epoch, "%s", source.epoch);
        call.position(call.ctx, &at);
        return;
    }
    struct event *events[OWNER_PAGE];
    struct owner_replay replay = {.ok = source.up, .events = events};
    replay.gap = call.after < source.trimmed;
    for (uint64_t seq = call.after + 1; seq <= source.head && replay.count < call.max && !replay.gap; seq++)
        events[replay.count++] = logged(seq);
    replay.more = call.after + replay.count < source.head;
    call.replay(call.ctx, &replay);
    for (size_t i = 0; i < replay.count; i++)
        event_unref(&events[i]);
}

static void queue_call(struct call call)
{
    if (source.at_once)
        answer(call);
    else
        source.calls[source.count++] = call;
}

/* Answers everything asked so far and whatever follows from it. */
static inline void settle(void)
{
    for (size_t i = 0; i < source.count; i++)
        answer(source.calls[i]);
    source.count = 0;
}

static void fake_attach(void *ctx, const char *owner, owner_position_fn *fn, void *fn_ctx)
{
    (void)ctx, (void)owner;
    source.attaches++;
    queue_call((struct call){.position = fn, .ctx = fn_ctx});
}

static void fake_detach(void *ctx, const char *owner)
{
    (void)ctx, (void)owner;
    source.detaches++;
}

static void fake_replay(void *ctx, const char *owner, uint64_t after, size_t max, owner_replay_fn *fn,
                        void *fn_ctx)
{
    (void)ctx, (void)owner;
    source.replays++;
    source.last_after = after;
    queue_call((struct call){.replay = fn, .ctx = fn_ctx, .after = after, .max = max});
}

/* ---- helpers ------------------------------------------------------------------------------------- */
static struct loop loop;
static struct owners *owners;

static inline void begin(uint64_t head)
{
    memset(&source, 0, sizeof source);
    source.up = source.at_once = true;
    source.epoch = "k3v9";
    source.head = head;
    owners = owners_new(&loop, (struct owner_source){fake_attach, fake_detach, fake_replay, NULL});
}

static inline void end(void)
{
    source.up = false;
    settle();
    owners_free(&owners);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    while (recorder_count) {
        member_free(&recorders[--recorder_count]->member);
        free(recorders[recorder_count]);
    }
}

static int joined; /* result of the last join, -1 = none yet */
static struct owner_position joined_at;

static void on_joined(void *ctx, enum owners_joined result, const struct owner_position *at)
{
    joined = (int)result;
    joined_at = *at;
    record(ctx, "auth ");
}

static inline struct recorder *join(const char *user, const char *epoch, uint64_t seq)
{
    struct recorder *recorder = new_recorder();
    struct owners_resume resume = {.seq = seq};
    snprintf(resume.epoch, sizeof resume.epoch, "%s", epoch);
    joined = -1;
    owners_join(owners, user, recorder->member, resume, on_joined, recorder);
    return recorder;
}

/* A connection that joined and gets everything from now on. */
static inline struct recorder *live(const char *user)
{
    struct recorder *recorder = join(user, "", 0);
    owners_start(recorder->member, joined_at.head);
    recorder->log[0] = '\0';
    return recorder;
}

static inline void leave(struct recorder *recorder)
{
    owners_leave(recorder->member);
}

static inline void logs(uint64_t seq, char code, char task)
{
    source.head = seq;
    source.codes[seq] = code;
    source.tasks[seq] = task;
}

/* An event that the log has arrives (feed or own reply). */
static inline void arrives(const char *user, uint64_t seq, const struct recorder *except)
{
    if (seq > source.head)
        source.head = seq;
    struct event *event = logged(seq);
    owners_event(owners, user, event, except ? except->member : NULL);
    event_unref(&event);
}

static inline void progress(const char *user, char code, uint64_t rev, uint64_t attempt, char task)
{
    struct event *event = make(code, 0, rev, attempt, task);
    owners_event(owners, user, event, NULL);
    event_unref(&event);
}

static inline void ticks(unsigned n)
{
    while (n--)
        owners_tick(owners);
}

static inline void is_log(struct recorder *recorder, const char *want, const char *name)
{
    is_text(recorder->log, want, "%s", name);
    recorder->log[0] = '\0';
}

static inline void end_loop(void)
{
    loop_deinit(&loop);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop.uv);
}
