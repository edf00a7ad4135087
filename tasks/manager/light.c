/* Light tasks on their way into the record: one that ends soon is recorded together with its end by one
 * call (fused); one that does not, or must stand first, is recorded as leased to this hub. Loop thread. */
#include "hub/base/clock.h"
#include "hub/base/metrics.h"
#include "hub/config/options.h"
#include "tasks/manager/submission.h"
#include "tasks/queue/event_text.h"

#define FUSE_WAITING 5 /* times light.fuse_us for a task that waits for a thread */

static void arm_fuse(struct manager *manager);

/* ---- fused --------------------------------------------------------------------------------------- */

static struct event *terminal_event(const struct task_submission *submission,
                                    const struct queue_fused_done *done)
{
    const struct task_ctx *ctx = &submission->job.ctx;
    struct event_text text = {.code = ctx->failed ? 'X' : 'C',
                              .attempt = 1,
                              .progress = ctx->failed ? 0 : 100,
                              .at_ms = done->at_ms,
                              .id = span_of(submission->id),
                              .task = span_of(submission->type->name),
                              .owner = span_of(submission->owner)};
    if (ctx->failed) {
        text.error_code = span_of(ctx->error_code);
        text.error = span_of(ctx->error);
    } else {
        text.result = span_of(ctx->result ? ctx->result : "{}");
    }
    return event_text_build(&text, done->seq, 0);
}

static void on_fused(void *ctx, const struct queue_fused_done *done)
{
    struct task_submission *submission = ctx;
    if (done->code != QUEUE_OK) {
        submission_refuse(submission, TASK_UNAVAILABLE, RETRY_BUSY_MS);
        submission_free(submission);
        return;
    }
    struct task_reply reply;
    reply = (struct task_reply){.refusal = TASK_ACCEPTED, .seq = done->seq, .status = "pending"};
    memcpy(reply.id, submission->id, sizeof reply.id);
    reply.news.event = terminal_event(submission, done);
    metric_add(METRIC_TASKS_LIGHT, 1);
    metric_add(METRIC_LIGHT_FUSED, 1);
    submission_reply(submission, &reply);
    event_unref(&reply.news.event);
    submission_free(submission);
}

static void fuse(struct task_submission *submission)
{
    const struct task_ctx *ctx = &submission->job.ctx;
    struct queue_fused call = {
        .id = submission->id,
        .owner = submission->owner,
        .task = submission->type->name,
        .args = (struct span){submission->args, submission->args_size},
        .created_ms = (uint64_t)submission->created_ms,
        .started_ms = (uint64_t)submission->job.started_wall_ms,
        .failed = ctx->failed,
        .result = ctx->result ? span_of(ctx->result) : SPAN_NONE,
        .error_code = ctx->failed ? span_of(ctx->error_code) : SPAN_NONE,
        .error = ctx->failed ? span_of(ctx->error) : SPAN_NONE,
    };
    submission->state = LIGHT_ENDING;
    queue_fused(submission->manager->config.queue, &call, on_fused, submission);
}

/* ---- recorded ------------------------------------------------------------------------------------ */

/* Its record stands, or does not: then what it does on a thread is told to nobody. */
static void on_recorded(void *ctx, const struct queue_submitted *submitted)
{
    struct task_submission *submission = ctx;
    bool leased = submitted->code == QUEUE_OK && submission->request.delay_ms == 0;
    submission_recorded(submission, submitted);
    if (leased) {
        submission->fence = submitted->fence;
        light_leased(submission);
    } else if (submission->in_pool) {
        submission->lost = true;
        pool_cancel(submission->manager->pool, &submission->job);
    } else {
        submission_free(submission);
    }
}

void light_record(struct task_submission *submission)
{
    struct queue_submit call = submission_record(submission, "light");
    call.lease = call.delay_ms == 0;
    submission->state = LIGHT_RECORDING;
    queue_submit(submission->manager->config.queue, &call, on_recorded, submission);
}

/* ---- on the pool --------------------------------------------------------------------------------- */

/* A first failure that may be tried again needs a record to wait in. */
static bool wants_retry(const struct task_submission *submission)
{
    const struct task_ctx *ctx = &submission->job.ctx;
    return ctx->failed && ctx->retry && max_attempts_of(submission->type) > 1;
}

static void on_done(struct pool_job *job)
{
    struct task_submission *submission = container_of(job, struct task_submission, job);
    submission->in_pool = false;
    submission->finished = true;
    if (submission->lost) {
        submission_free(submission);
    } else if (submission->state == LIGHT_LEASED) {
        light_end(submission);
    } else if (submission->state == LIGHT_RUNNING) {
        list_remove(&submission->node);
        if (wants_retry(submission))
            light_record(submission);
        else
            fuse(submission);
    } /* LIGHT_RECORDING: light_leased() goes on */
}

bool light_run(struct task_submission *submission)
{
    struct manager *manager = submission->manager;
    submission->job.done = on_done;
    if (!pool_submit(manager->pool, &submission->job))
        return false;
    submission->in_pool = true;
    if (submission->state != LIGHT_RUNNING)
        return true;
    submission->request = (struct task_request){.priority = submission->request.priority};
    submission->created_ms = clock_wall_ms();
    submission->submitted_us = clock_mono_us();
    bool first = list_empty(&manager->running);
    list_append(&manager->running, &submission->node);
    if (first)
        arm_fuse(manager);
    return true;
}

/* Whether the oldest task has had its time. One that no thread has begun with (jobs begin in order, so the
 * ones behind it wait, too) gets more of it: waiting is no sign that it is a long one. */
static bool fuse_is_over(struct manager *manager, struct task_submission *oldest, uint64_t now)
{
    uint64_t fuse_us = (uint64_t)manager->config.options->light_fuse_us, age_us = now - oldest->submitted_us;
    if (age_us < fuse_us)
        return false;
    return age_us >= FUSE_WAITING * fuse_us || pool_runs(manager->pool, &oldest->job);
}

/* Every task that has been running for too long is recorded. */
static void on_fuse_timer(uv_timer_t *timer)
{
    struct manager *manager = timer->data;
    pool_poll(manager->pool); /* timers come first in a turn: what is done must not count as late */
    uint64_t now = clock_mono_us();
    while (!list_empty(&manager->running)) {
        struct task_submission *oldest = container_of(manager->running.next, struct task_submission, node);
        if (!fuse_is_over(manager, oldest, now))
            break;
        list_remove(&oldest->node);
        light_record(oldest);
    }
    if (!list_empty(&manager->running))
        arm_fuse(manager);
}

static void arm_fuse(struct manager *manager)
{
    const struct task_submission *oldest = container_of(manager->running.next, struct task_submission, node);
    uint64_t due = oldest->submitted_us + (uint64_t)manager->config.options->light_fuse_us;
    uint64_t now = clock_mono_us();
    uv_timer_start(manager->fuse_timer, on_fuse_timer, due > now ? (due - now + 999) / 1000 : 1, 0);
}

void light_init(struct manager *manager)
{
    manager->fuse_timer = xmalloc(sizeof *manager->fuse_timer);
    uv_timer_init(&manager->config.loop->uv, manager->fuse_timer);
    manager->fuse_timer->data = manager;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

/* What runs is stopped with the pool; its outcome goes nowhere. */
void light_deinit(struct manager *manager)
{
    list_for_each (node, &manager->running) {
        container_of(node, struct task_submission, node)->lost = true;
    }
    uv_close((uv_handle_t *)manager->fuse_timer, free_handle);
}
