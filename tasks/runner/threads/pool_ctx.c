/* What a job on a pool thread may do: the task_ctx_ops of light tasks. Runs on pool threads, except for
 * pool_call_answer(); reaches the loop thread only through the pool's lists. */
#include "hub/base/clock.h"
#include "hub/config/options.h"
#include "hub/sql/db.h"
#include "tasks/runner/threads/pool_thread.h"
#include "tasks/store/schema.h"

#include <errno.h>
#include <time.h>

#define CALL_TIMEOUT_MS 10000

static struct pool_job *job_of(struct task_ctx *ctx)
{
    return container_of(ctx, struct pool_job, ctx);
}

/* ---- reports ------------------------------------------------------------------------------------- */

static char *put(char *at, struct span text, struct span *ret_copy)
{
    if (text.p == NULL)
        return at;
    memcpy(at, text.p, text.n);
    *ret_copy = (struct span){at, text.n};
    return at + text.n;
}

static struct pool_report *new_report(struct pool_job *job, enum pool_report_kind kind, struct span message,
                                      struct span meta)
{
    struct pool_report *report = xmalloc(sizeof *report + message.n + meta.n);
    list_init(&report->node);
    report->kind = kind;
    report->job = job;
    report->percent = job->ctx.percent;
    memcpy(report->stage, job->ctx.stage, sizeof report->stage);
    report->message = report->meta = SPAN_NONE;
    put(put(report->text, message, &report->message), meta, &report->meta);
    return report;
}

static void send_locked(struct pool *pool, struct pool_report *report)
{
    list_append(&pool->reports, &report->node);
    pool->report_count++;
    bool tell = pool_must_tell(pool);
    pthread_mutex_unlock(&pool->lock);
    if (tell)
        pool_tell(pool);
}

/* The newest progress replaces one that is held back; a meta object not yet delivered stays with it. */
static void report_progress(struct task_ctx *ctx, struct span meta)
{
    struct pool *pool = pool_self->pool;
    struct pool_job *job = job_of(ctx);
    struct span message = ctx->message[0] ? span_of(ctx->message) : SPAN_NONE;
    uint64_t now = clock_mono_ms();

    pthread_mutex_lock(&pool->lock);
    struct pool_report *old = job->held;
    job->held = NULL;
    if (meta.p == NULL && old)
        meta = old->meta;
    struct pool_report *report = new_report(job, POOL_PROGRESS, message, meta);
    free(old);
    if (job->listening && now - job->reported_ms >= pool->config.coalesce_ms &&
        pool->report_count < POOL_REPORTS_MAX) {
        job->reported_ms = now;
        send_locked(pool, report);
        return;
    }
    job->held = report;
    pthread_mutex_unlock(&pool->lock);
}

/* A report that is not replaced by a later one; waits while too many are on their way. */
static void report_each(struct task_ctx *ctx, enum pool_report_kind kind, struct span message,
                        struct span meta)
{
    struct pool *pool = pool_self->pool;
    struct pool_job *job = job_of(ctx);
    pthread_mutex_lock(&pool->lock);
    while (job->listening && pool->report_count >= POOL_REPORTS_MAX && !pool->closing)
        pthread_cond_wait(&pool->wake, &pool->lock);
    if (!job->listening || pool->closing) {
        pthread_mutex_unlock(&pool->lock);
        return;
    }
    send_locked(pool, new_report(job, kind, message, meta));
}

void pool_report_started(struct pool_job *job)
{
    report_each(&job->ctx, POOL_STARTED, SPAN_NONE, SPAN_NONE);
}

static void op_progress(struct task_ctx *ctx)
{
    report_progress(ctx, SPAN_NONE);
}

static void op_meta(struct task_ctx *ctx, struct span json)
{
    report_progress(ctx, json);
}

static void op_partial(struct task_ctx *ctx, struct span json, bool final)
{
    report_each(ctx, final ? POOL_FINAL : POOL_PARTIAL, SPAN_NONE, json);
}

static void op_log(struct task_ctx *ctx, struct span text)
{
    report_each(ctx, POOL_LOG, text, SPAN_NONE);
}

/* ---- waiting ------------------------------------------------------------------------------------- */

static bool op_cancelled(struct task_ctx *ctx)
{
    return atomic_load_explicit(&job_of(ctx)->cancelled, memory_order_relaxed) || pool_self->pool->closing;
}

static struct timespec deadline_in(unsigned ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static bool op_sleep(struct task_ctx *ctx, unsigned ms)
{
    struct pool *pool = pool_self->pool;
    struct timespec until = deadline_in(ms);
    int rc = 0;
    pthread_mutex_lock(&pool->lock);
    while (rc != ETIMEDOUT && !op_cancelled(ctx))
        rc = pthread_cond_timedwait(&pool->wake, &pool->lock, &until);
    pthread_mutex_unlock(&pool->lock);
    return !op_cancelled(ctx);
}

static ssize_t op_audio_read(struct task_ctx *ctx, void *to, size_t size, int timeout_ms)
{
    (void)ctx;
    (void)to;
    (void)size;
    (void)timeout_ms;
    errno = ENOTSUP; /* a light task has no stream */
    return -1;
}

/* ---- services ------------------------------------------------------------------------------------ */

void pool_call_free(struct pool_call *call)
{
    json_decref(call->args);
    json_decref(call->answer);
    free(call->service);
    free(call);
}

void pool_call_answer(void *ctx, json_t *answer)
{
    struct pool_call *call = ctx;
    struct pool *pool = call->pool;
    list_remove(&call->node);
    call->answer = answer;
    if (pool == NULL) { /* the pool is gone, and with it the job */
        pool_call_free(call);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    bool left = call->left;
    call->answered = true;
    pthread_mutex_unlock(&pool->lock);
    if (left)
        pool_call_free(call);
    else
        pthread_cond_broadcast(&pool->wake);
}

/* Waits for the answer; NULL when it did not come in time or the job shall stop. */
static json_t *await_answer(struct pool *pool, struct pool_call *call)
{
    struct timespec until = deadline_in(CALL_TIMEOUT_MS);
    int rc = 0;
    pthread_mutex_lock(&pool->lock);
    while (!call->answered && rc != ETIMEDOUT && !op_cancelled(&call->job->ctx))
        rc = pthread_cond_timedwait(&pool->wake, &pool->lock, &until);
    bool answered = call->answered;
    call->left = !answered;
    pthread_mutex_unlock(&pool->lock);
    if (!answered)
        return NULL; /* whoever answers frees it */
    json_t *answer = call->answer;
    call->answer = NULL;
    pool_call_free(call);
    return answer;
}

static json_t *op_call(struct task_ctx *ctx, const char *service, json_t *args)
{
    struct pool *pool = pool_self->pool;
    struct pool_call *call = xcalloc(1, sizeof *call);
    call->pool = pool;
    call->job = job_of(ctx);
    call->service = xstrdup(service);
    call->args = args ? args : json_object();
    list_init(&call->node);
    pthread_mutex_lock(&pool->lock);
    list_append(&pool->calls, &call->node);
    bool tell = pool_must_tell(pool);
    pthread_mutex_unlock(&pool->lock);
    if (tell)
        pool_tell(pool);
    return await_answer(pool, call);
}

static struct db *op_db(struct task_ctx *ctx)
{
    if (pool_self->db == NULL)
        pool_self->db = store_open(ctx->options);
    return pool_self->db;
}

const struct task_ctx_ops pool_ctx_ops = {
    .progress = op_progress,
    .meta = op_meta,
    .partial = op_partial,
    .log = op_log,
    .cancelled = op_cancelled,
    .sleep = op_sleep,
    .audio_read = op_audio_read,
    .call = op_call,
    .db = op_db,
};
