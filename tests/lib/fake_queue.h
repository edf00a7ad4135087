/* The queue as a test sees it: every call is noted; answers come when the test says so, or at once. For
 * programs that link neither the real queue nor Redis; include it once. */
#pragma once

#include "hub/redis/redis.h"
#include "tasks/queue/event_text.h"
#include "tasks/queue/queue.h"
#include "tasks/queue/services.h"
#include "tasks/queue/usage.h"

#include <stdio.h>

#define FAKE_CALLS 64

struct fake_call { /* one call of a kind that is answered later */
    char id[ID_SIZE], owner[129], task[65], queue[16], args[256];
    bool lease, light, stream, failed, retry, key;
    unsigned fence, rev; /* rev: where its reports begin */
    int kind;
    char text[256]; /* result, error code or message */
    void *fn, *ctx;
};
struct fake_calls {
    struct fake_call at[FAKE_CALLS];
    size_t count;
};

static struct {
    bool up;      /* redis_is_up() */
    bool stalled; /* redis_is_stalled() */
    void (*on_stall)(void *ctx);
    void *stall_ctx;
    enum queue_code outcome; /* of calls that are answered at once */
    uint64_t seq;
    struct fake_calls submits, onces, ends, starts, updates;
    queue_leased_fn *lease;
    queue_beat_fn *beat;
    void *lease_ctx, *beat_ctx;
    unsigned leases, beats, reclaims, audio_fails;
    size_t beaten; /* items of the last beat */
    char audio_fail[32];
    char audio[1024];
    size_t audio_size, audio_kept;
    bool audio_ended, audio_hold;
    const char *task;        /* JSON that queue_get() finds; NULL = a small one */
    bool foreign;            /* and it is another owner's */
    unsigned refusals;       /* because of that */
    const char *retry_owner; /* whose task queue_retry() finds; NULL = the caller's */
    queue_audio_fn *audio_fn;
    void *audio_ctx;
} fake = {.up = true};

static inline struct fake_call *fake_note(struct fake_calls *calls, const char *id, unsigned fence, void *fn,
                                          void *ctx)
{
    if (calls->count == FAKE_CALLS)
        abort();
    struct fake_call *call = &calls->at[calls->count++];
    *call = (struct fake_call){.fence = fence, .fn = fn, .ctx = ctx};
    snprintf(call->id, sizeof call->id, "%s", id);
    return call;
}

static inline void fake_text(char *to, size_t size, struct span text)
{
    snprintf(to, size, "%.*s", SPAN_ARG(text));
}

static inline void fake_reset(void)
{
    fake.submits.count = fake.onces.count = fake.ends.count = fake.starts.count = 0;
    fake.updates.count = 0;
    fake.leases = fake.beats = fake.reclaims = 0;
    fake.outcome = QUEUE_OK;
    fake.up = true;
}

/* ---- answers ---- */
static inline void fake_submitted(size_t n, enum queue_code code)
{
    struct fake_call *call = &fake.submits.at[n];
    struct queue_submitted submitted = {.code = code, .status = "pending", .fence = call->lease};
    memcpy(submitted.id, call->id, ID_SIZE);
    submitted.seq = code == QUEUE_OK ? ++fake.seq : fake.seq;
    queue_submitted_fn *fn = (queue_submitted_fn *)(uintptr_t)call->fn;
    fn(call->ctx, &submitted);
}

static inline void fake_once(size_t n, enum queue_code code)
{
    struct fake_call *call = &fake.onces.at[n];
    struct queue_submitted done = {.code = code, .at_ms = 1000, .status = "pending"};
    memcpy(done.id, call->id, ID_SIZE);
    done.seq = code == QUEUE_OK ? ++fake.seq : fake.seq;
    queue_submitted_fn *fn = (queue_submitted_fn *)(uintptr_t)call->fn;
    fn(call->ctx, &done);
}

static inline void fake_ended(size_t n, enum queue_code code)
{
    queue_done_fn *fn = (queue_done_fn *)(uintptr_t)fake.ends.at[n].fn;
    if (fn)
        fn(fake.ends.at[n].ctx, code);
}

/* ---- the queue ---- */
void queue_submit(struct queue *queue, const struct queue_submit *submit, queue_submitted_fn *fn, void *ctx)
{
    (void)queue;
    struct fake_call *call = fake_note(&fake.submits, submit->id, 0, (void *)(uintptr_t)fn, ctx);
    snprintf(call->owner, sizeof call->owner, "%s", submit->owner);
    snprintf(call->task, sizeof call->task, "%s", submit->task);
    snprintf(call->queue, sizeof call->queue, "%s", submit->queue);
    fake_text(call->args, sizeof call->args, submit->args);
    call->lease = submit->lease;
    call->light = submit->light;
    call->stream = submit->stream;
    call->key = submit->effect_id != NULL;
}

void queue_recorded_once(struct queue *queue, const struct queue_once *once, queue_submitted_fn *fn,
                         void *ctx)
{
    (void)queue;
    struct fake_call *call = fake_note(&fake.onces, once->task->id, 0, (void *)(uintptr_t)fn, ctx);
    call->failed = once->failed;
    call->key = once->task->effect_id != NULL;
    fake_text(call->text, sizeof call->text, once->failed ? once->error_code : once->result);
}

void queue_effect_id(char id[static ID_SIZE], const char *owner, struct span key)
{
    snprintf(id, ID_SIZE, "%-18.18s%-18.*s", owner, (int)(key.n < 18 ? key.n : 18), key.p);
}

void queue_lease(struct queue *queue, const char *name, unsigned count, queue_leased_fn *fn, void *ctx)
{
    (void)queue;
    (void)name;
    (void)count;
    fake.leases++;
    fake.lease = fn;
    fake.lease_ctx = ctx;
}

void queue_started(struct queue *queue, const char *id, unsigned fence, queue_done_fn *fn, void *ctx)
{
    (void)queue;
    fake_note(&fake.starts, id, fence, NULL, NULL);
    if (fn)
        fn(ctx, fake.outcome);
}

void queue_update(struct queue *queue, const struct queue_update *update, queue_done_fn *fn, void *ctx)
{
    (void)queue;
    struct fake_call *call = fake_note(&fake.updates, update->id, update->fence, NULL, NULL);
    call->kind = (int)update->kind;
    fake_text(call->text, sizeof call->text, update->message);
    if (update->reported) {
        call->rev = update->reported->rev;
        snprintf(call->task, sizeof call->task, "%s", update->task);
    }
    if (fn)
        fn(ctx, fake.outcome);
}

void queue_end(struct queue *queue, const struct queue_end *end, queue_done_fn *fn, void *ctx)
{
    (void)queue;
    struct fake_call *call = fake_note(&fake.ends, end->id, end->fence, (void *)(uintptr_t)fn, ctx);
    call->kind = (int)end->kind;
    call->retry = end->retry;
    fake_text(call->text, sizeof call->text, end->kind == QUEUE_COMPLETED ? end->result : end->error_code);
}

void queue_reclaim(struct queue *queue, queue_done_fn *fn, void *ctx)
{
    (void)queue;
    fake.reclaims++;
    fn(ctx, fake.outcome);
}

void queue_beat(struct queue *queue, const struct queue_beat_item *items, size_t count, struct span info,
                queue_beat_fn *fn, void *ctx)
{
    (void)queue;
    (void)items;
    (void)info;
    fake.beats++;
    fake.beaten = count;
    fake.beat = fn;
    fake.beat_ctx = ctx;
}

/* ---- the owner's side: answered at once ---- */
static inline void fake_answer(const char *id, const char *json, queue_answer_fn *fn, void *ctx)
{
    struct queue_answer answer = {.code = fake.outcome, .status = "cancelled", .json = span_of(json)};
    snprintf(answer.id, sizeof answer.id, "%s", id);
    answer.seq = fake.seq;
    fn(ctx, &answer);
}

static inline void fake_one(bool may, const char *id, const char *json, queue_answer_fn *fn, void *ctx)
{
    if (!may) {
        fake.refusals++;
        fn(ctx, &(struct queue_answer){.code = QUEUE_FORBIDDEN});
        return;
    }
    fake_answer(id, fake.task ? fake.task : json, fn, ctx);
}

void queue_get(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx)
{
    char json[160];
    const char *owner = fake.retry_owner ? fake.retry_owner : fake.foreign ? "u9" : who->owner;
    (void)queue;
    snprintf(json, sizeof json, "{\"task_id\":\"x\",\"task\":\"quick\",\"user_id\":\"%s\"}", owner);
    bool own = strcmp(owner, who->owner) == 0;
    fake_one(own || who->any_read, id, json, fn, ctx);
}

void queue_why(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx)
{
    queue_get(queue, who, id, fn, ctx);
}

void queue_cancel(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
                  void *ctx)
{
    (void)queue;
    fake_one(!fake.foreign || who->any_write, id, "{\"task_id\":\"x\"}", fn, ctx);
}

void queue_retry(struct queue *queue, const struct queue_caller *who, const char *id, const char *new_id,
                 const char *own_arg, queue_answer_fn *fn, void *ctx)
{
    (void)own_arg;
    char json[80];
    (void)queue;
    (void)id;
    if (fake.retry_owner && !who->any_write && strcmp(fake.retry_owner, who->owner) != 0) {
        fake.refusals++;
        fn(ctx, &(struct queue_answer){.code = QUEUE_FORBIDDEN});
        return;
    }
    fake.seq++;
    snprintf(json, sizeof json, "{\"user_id\":\"%s\"}", fake.retry_owner ? fake.retry_owner : who->owner);
    fake_answer(new_id, json, fn, ctx);
}

void queue_list(struct queue *queue, const struct queue_filter *filter, queue_answer_fn *fn, void *ctx)
{
    (void)queue;
    char text[200];
    snprintf(text, sizeof text, "{\"owner\":\"%s\",\"limit\":%u,\"since\":%lld}",
             filter->owner ? filter->owner : "*", filter->limit, (long long)filter->since_ms);
    fake_answer("", text, fn, ctx);
}

void queue_snapshot(struct queue *queue, const char *owner, queue_answer_fn *fn, void *ctx)
{
    (void)queue;
    (void)owner;
    fake_answer("", "{\"tasks\":[]}", fn, ctx);
}

void queue_stats(struct queue *queue, queue_answer_fn *fn, void *ctx)
{
    (void)queue;
    fake_answer("", "{\"stats\":1}", fn, ctx);
}

void queue_workers(struct queue *queue, queue_answer_fn *fn, void *ctx)
{
    queue_stats(queue, fn, ctx);
}

/* ---- audio ---- */
static inline void fake_audio(queue_audio_fn *fn, void *ctx)
{
    struct queue_audio audio = {fake.outcome, fake.audio_size, fake.audio_ended};
    fn(ctx, &audio);
}

void queue_audio_append(struct queue *queue, const char *owner, const char *id, uint64_t offset,
                        struct span bytes, queue_audio_fn *fn, void *ctx)
{
    (void)queue;
    (void)owner;
    (void)id;
    if (fake.outcome == QUEUE_OK) {
        memcpy(fake.audio + offset, bytes.p, bytes.n);
        fake.audio_size = offset + bytes.n;
    }
    fake.audio_fn = fn;
    fake.audio_ctx = ctx;
    if (!fake.audio_hold)
        fake_audio(fn, ctx);
}

void queue_audio_read(struct queue *queue, const char *owner, const char *id, uint64_t offset,
                      size_t max_bytes, queue_audio_data_fn *fn, void *ctx)
{
    (void)queue;
    (void)owner;
    (void)id;
    (void)offset;
    (void)max_bytes;
    (void)fn;
    (void)ctx;
}

void queue_audio_end(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx)
{
    (void)queue;
    (void)owner;
    (void)id;
    fake.audio_ended = true;
    fake_audio(fn, ctx);
}

void queue_audio_keep(struct queue *queue, const char *const *ids, size_t count, uint64_t keep_ms)
{
    (void)queue;
    (void)ids;
    (void)keep_ms;
    fake.audio_kept = count;
}

void queue_audio_take(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx)
{
    (void)queue;
    (void)owner;
    (void)id;
    fake_audio(fn, ctx);
}

void queue_audio_fail(struct queue *queue, const char *owner, const char *id, const char *code,
                      const char *error, queue_done_fn *fn, void *ctx)
{
    (void)queue;
    (void)owner;
    (void)id;
    (void)error;
    fake.audio_fails++;
    snprintf(fake.audio_fail, sizeof fake.audio_fail, "%s", code);
    if (fn)
        fn(ctx, fake.outcome);
}

/* ---- what stands around it ---- */
struct redis *queue_redis(struct queue *queue)
{
    (void)queue;
    return NULL;
}

bool redis_is_up(const struct redis *redis)
{
    (void)redis;
    return fake.up;
}

bool redis_is_stalled(const struct redis *redis)
{
    (void)redis;
    return fake.stalled;
}

void redis_on_stall(struct redis *redis, void (*fn)(void *ctx), void *ctx)
{
    (void)redis;
    fake.on_stall = fn;
    fake.stall_ctx = ctx;
}

void redis_probe(struct redis *redis)
{
    (void)redis;
}

void queue_feed_watch(struct queue_feed *feed, bool on)
{
    (void)feed;
    (void)on;
}

void usage_impression(struct queue *queue, const char *resource_id, const char *kind, queue_done_fn *fn,
                      void *ctx)
{
    (void)queue;
    (void)resource_id;
    (void)kind;
    fn(ctx, fake.outcome);
}

void usage_session(struct queue *queue, const char *owner, const char *session, int64_t expires_at_s)
{
    (void)queue;
    (void)owner;
    (void)session;
    (void)expires_at_s;
}

const struct service *service_find(const char *name, const char *task)
{
    (void)name;
    (void)task;
    return NULL;
}

struct event *event_text_build(const struct event_text *text, uint64_t seq, uint64_t rev)
{
    struct buf body CLEANUP(buf_free) = BUF_INIT;
    buf_printf(&body, "{\"task_id\":\"%.*s\",\"task\":\"%.*s\",\"user_id\":\"%.*s\",\"type\":\"%s\"}",
               SPAN_ARG(text->id), SPAN_ARG(text->task), SPAN_ARG(text->owner),
               event_type_by_code(text->code)->name);
    return event_new(text->code, seq, rev, text->attempt, text->id, buf_span(&body));
}
