/* SPDX-License-Identifier: MIT */
/* What a running job may do (task_ctx_ops): its reports, on their way to the loop thread, and its waits.
 * Progress that comes too soon is kept, and replaced by newer progress; everything else is passed on in
 * order. */
#include "tasks/runner/threads/threads_private.h"

#include "hub/base/clock.h"
#include "hub/config/options.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define REPORTS_MAX 1024 /* most reports under way; beyond, progress is kept and other reports wait */
#define CALL_TIMEOUT_MS 10000

enum report_kind { REPORT_STARTED, REPORT_CALL, REPORT_PROGRESS, REPORT_PARTIAL, REPORT_FINAL, REPORT_LOG };
struct report { /* a report of a running job */
    struct list node;
    enum report_kind kind;
    struct job *job;
    unsigned number;           /* REPORT_PROGRESS: percent; REPORT_CALL: number of the call */
    char word[33];             /* REPORT_PROGRESS: the stage, "" = none; REPORT_CALL: the service */
    struct span message, json; /* SPAN_NONE = unchanged; they point into `text` */
    char text[];
};

static struct job *job_of(struct task_ctx *ctx)
{
    return container_of(ctx, struct job, ctx);
}

/* ---- reports, on the job's thread ---------------------------------------------------------------- */

static char *put(char *at, struct span text, struct span *ret_copy)
{
    if (text.p == NULL)
        return at;
    memcpy(at, text.p, text.n);
    *ret_copy = (struct span){at, text.n};
    return at + text.n;
}

static struct report *new_report(struct job *job, enum report_kind kind, struct span message,
                                 struct span json)
{
    struct report *report = xmalloc(sizeof *report + message.n + json.n);
    list_init(&report->node);
    report->kind = kind;
    report->job = job;
    report->number = (unsigned)job->ctx.percent;
    memcpy(report->word, job->ctx.stage, sizeof report->word);
    report->message = report->json = SPAN_NONE;
    put(put(report->text, message, &report->message), json, &report->json);
    return report;
}

/* Call with the lock held; releases it. */
static void send_report(struct reports *reports, struct report *report)
{
    list_append(&reports->sent, &report->node);
    reports->count++;
    bool must = crossing_put(reports->crossing);
    pthread_mutex_unlock(&reports->crossing->lock);
    if (must)
        uv_async_send(reports->crossing->async);
}

/* Replaces progress that is kept by newer progress; keeps a meta object that was not delivered yet. */
static void report_progress(struct task_ctx *ctx, struct span meta)
{
    struct job *job = job_of(ctx);
    struct reports *reports = job->reports;
    struct span message = ctx->message[0] ? span_of(ctx->message) : SPAN_NONE;
    uint64_t now = clock_mono_ms();

    pthread_mutex_lock(&reports->crossing->lock);
    struct report *old = job->kept;
    job->kept = NULL;
    if (meta.p == NULL && old)
        meta = old->json;
    struct report *report = new_report(job, REPORT_PROGRESS, message, meta);
    free(old);
    if (job->listening && now - job->reported_ms >= reports->coalesce_ms && reports->count < REPORTS_MAX) {
        job->reported_ms = now;
        send_report(reports, report);
        return;
    }
    job->kept = report;
    pthread_mutex_unlock(&reports->crossing->lock);
}

/* Sends a report that no later one replaces; waits while too many are under way. */
static void report_each(struct job *job, enum report_kind kind, struct span message, struct span json)
{
    struct reports *reports = job->reports;
    struct crossing *crossing = reports->crossing;
    pthread_mutex_lock(&crossing->lock);
    while (job->listening && reports->count >= REPORTS_MAX && !crossing->closing)
        pthread_cond_wait(&crossing->wake, &crossing->lock);
    if (job->listening && !crossing->closing)
        send_report(reports, new_report(job, kind, message, json));
    else
        pthread_mutex_unlock(&crossing->lock);
}

void report_started(struct job *job)
{
    report_each(job, REPORT_STARTED, SPAN_NONE, SPAN_NONE);
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
    report_each(job_of(ctx), final ? REPORT_FINAL : REPORT_PARTIAL, SPAN_NONE, json);
}

static void op_log(struct task_ctx *ctx, struct span text)
{
    report_each(job_of(ctx), REPORT_LOG, text, SPAN_NONE);
}

/* ---- waiting, on the job's thread ---------------------------------------------------------------- */

static bool op_cancelled(struct task_ctx *ctx)
{
    const struct job *job = job_of(ctx);
    return atomic_load_explicit(&job->cancelled, memory_order_relaxed) || job->reports->crossing->closing;
}

static struct timespec deadline_in(unsigned ms)
{
    uint64_t us = clock_mono_us() + (uint64_t)ms * 1000;
    return (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
}

/* Waits, with the lock held, until *flag is set, the job must stop, or the time is over. */
static void wait_for(struct crossing *crossing, struct task_ctx *ctx, const bool *flag, unsigned ms)
{
    struct timespec until = deadline_in(ms);
    for (int rc = 0; !*flag && rc != ETIMEDOUT && !op_cancelled(ctx);)
        rc = pthread_cond_timedwait(&crossing->wake, &crossing->lock, &until);
}

static bool op_sleep(struct task_ctx *ctx, unsigned ms)
{
    static const bool never = false;
    struct crossing *crossing = job_of(ctx)->reports->crossing;
    pthread_mutex_lock(&crossing->lock);
    wait_for(crossing, ctx, &never, ms);
    pthread_mutex_unlock(&crossing->lock);
    return !op_cancelled(ctx);
}

static char *op_call(struct task_ctx *ctx, const char *service, struct span args)
{
    struct job *job = job_of(ctx);
    struct crossing *crossing = job->reports->crossing;
    struct report *report = new_report(job, REPORT_CALL, SPAN_NONE, args);
    snprintf(report->word, sizeof report->word, "%s", service);
    pthread_mutex_lock(&crossing->lock);
    report->number = ++job->call;
    job->answered = false;
    send_report(job->reports, report);
    pthread_mutex_lock(&crossing->lock);
    wait_for(crossing, ctx, &job->answered, CALL_TIMEOUT_MS);
    char *answer = job->answer;
    job->answer = NULL;
    job->call++; /* an answer that comes later is dropped */
    pthread_mutex_unlock(&crossing->lock);
    return answer;
}

const struct task_ctx_ops job_ctx_ops = {
    .progress = op_progress,
    .meta = op_meta,
    .partial = op_partial,
    .log = op_log,
    .cancelled = op_cancelled,
    .sleep = op_sleep,
    .call = op_call,
    .db = thread_db,
};

/* ---- their delivery, on the loop thread ----------------------------------------------------------- */

static void deliver_report(const struct reports *reports, const struct report *report)
{
    static const enum queue_update_kind kinds[] = {[REPORT_PROGRESS] = QUEUE_PROGRESS,
                                                   [REPORT_PARTIAL] = QUEUE_PARTIAL,
                                                   [REPORT_FINAL] = QUEUE_FINAL,
                                                   [REPORT_LOG] = QUEUE_LOG};
    struct run *run = &report->job->run;
    if (report->kind == REPORT_CALL) {
        reports->hooks->call(run, report->number, report->word, report->json);
        return;
    }
    if (report->kind == REPORT_STARTED) {
        reports->hooks->started(run);
        return;
    }
    struct queue_update update = {.kind = kinds[report->kind],
                                  .percent = (int)report->number,
                                  .stage = report->word[0] ? report->word : NULL,
                                  .message = report->message,
                                  .meta = report->json};
    reports->hooks->update(run, &update);
}

void reports_deliver(struct reports *reports, struct list *taken)
{
    for (struct list *node; (node = list_pop(taken)) != NULL;) {
        struct report *report = container_of(node, struct report, node);
        deliver_report(reports, report);
        free(report);
    }
}

void reports_take(struct reports *reports, struct list *to)
{
    list_splice(to, &reports->sent);
    if (reports->count >= REPORTS_MAX)
        pthread_cond_broadcast(&reports->crossing->wake);
    reports->count = 0;
}

/* Takes the kept report from the job. Call with the lock held. */
static struct report *take_kept(struct job *job)
{
    struct report *kept = job->kept;
    if (kept) {
        job->kept = NULL;
        job->reported_ms = clock_mono_ms();
    }
    return kept;
}

static void deliver_kept(const struct reports *reports, struct report *kept)
{
    if (kept)
        deliver_report(reports, kept);
    free(kept);
}

static void on_collect(uv_timer_t *timer)
{
    struct reports *reports = timer->data;
    if (list_empty(&reports->listening)) {
        uv_timer_stop(timer);
        return;
    }
    list_for_each (node, &reports->listening) {
        struct job *job = container_of(node, struct job, listen_node);
        pthread_mutex_lock(&reports->crossing->lock);
        /* Reports of the job that are under way are older than the kept one and must go first. */
        struct report *kept = list_empty(&reports->sent) ? take_kept(job) : NULL;
        pthread_mutex_unlock(&reports->crossing->lock);
        deliver_kept(reports, kept);
    }
}

void reports_listen(struct job *job)
{
    struct reports *reports = job->reports;
    uint64_t every = reports->coalesce_ms ? reports->coalesce_ms : 1000;
    job->listening = true;
    list_append(&reports->listening, &job->listen_node);
    if (!uv_is_active((uv_handle_t *)reports->collect))
        uv_timer_start(reports->collect, on_collect, every, every);
}

void reports_forget(struct job *job)
{
    if (job->listening)
        list_remove(&job->listen_node);
    free(job->kept);
}

/* ---- the engine's side -------------------------------------------------------------------------- */

void job_listen(void *engine, struct run *run)
{
    struct job *job = container_of(run, struct job, run);
    struct reports *reports = job->reports;
    (void)engine;
    pthread_mutex_lock(&reports->crossing->lock);
    reports_listen(job);
    bool running = job->running;
    struct report *kept = take_kept(job);
    pthread_mutex_unlock(&reports->crossing->lock);
    if (running)
        reports->hooks->started(run);
    deliver_kept(reports, kept);
}

void job_answer(void *engine, struct run *run, uint32_t call, struct span json)
{
    struct job *job = container_of(run, struct job, run);
    struct crossing *crossing = job->reports->crossing;
    (void)engine;
    pthread_mutex_lock(&crossing->lock);
    if (job->call == call && !job->answered) {
        job->answered = true;
        job->answer = json.p ? xstrndup(json.p, json.n) : NULL;
    }
    pthread_mutex_unlock(&crossing->lock);
    pthread_cond_broadcast(&crossing->wake);
}

/* ---- life ---------------------------------------------------------------------------------------- */

void reports_open(struct reports *reports, struct crossing *crossing, const struct engine_config *config)
{
    reports->crossing = crossing;
    reports->hooks = config->hooks;
    reports->coalesce_ms = (unsigned)config->options->progress_coalesce_ms;
    reports->collect = loop_timer(config->loop, reports);
    list_init(&reports->listening);
    list_init(&reports->sent);
}

void reports_close(struct reports *reports)
{
    loop_close(reports->collect);
}
