/* Light tasks that stand in Redis, leased to this hub: taking expired and delayed ones, keeping the leases,
 * passing on what running tasks report, recording their ends. Loop thread. */
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/config/options.h"
#include "tasks/manager/submission.h"

#define TAKE_MAX 64  /* tasks leased by one call */
#define TICK_MS 1000 /* how often expired leases are looked for */

/* ---- the end ------------------------------------------------------------------------------------- */

static void on_ended(void *ctx, enum queue_code code)
{
    struct task_submission *submission = ctx;
    if (code != QUEUE_UNAVAILABLE) {
        submission_free(submission); /* recorded, or the lease was lost: somebody else runs it */
        return;
    }
    submission->state = LIGHT_UNENDED;
    list_remove(&submission->node);
    list_append(&submission->manager->unended, &submission->node);
}

static struct queue_end end_of(const struct task_submission *submission)
{
    const struct task_ctx *ctx = &submission->job.ctx;
    struct queue_end end = {.kind = QUEUE_COMPLETED, .id = submission->id, .fence = submission->fence};
    if (!ctx->failed) {
        end.result = span_of(ctx->result ? ctx->result : "{}");
        return end;
    }
    end.kind = submission->cancel ? QUEUE_CANCELLED : QUEUE_FAILED;
    end.error_code = span_of(ctx->error_code);
    end.error = span_of(ctx->error);
    end.retry = ctx->retry;
    return end;
}

static void mark_started(struct task_submission *submission)
{
    if (submission->started)
        return;
    submission->started = true;
    queue_started(submission->manager->config.queue, submission->id, submission->fence, NULL, NULL);
}

void light_end(struct task_submission *submission)
{
    struct queue *queue = submission->manager->config.queue;
    struct queue_end end = end_of(submission);
    submission->state = LIGHT_ENDING;
    if (submission->job.started_wall_ms)
        mark_started(submission);
    queue_end(queue, &end, on_ended, submission);
}

/* ---- a recorded task begins ---------------------------------------------------------------------- */

static void arm_collect(struct manager *manager);

/* No room on the pool: the task goes back, another hub or a later second takes it. */
static void give_back(struct task_submission *submission)
{
    struct queue_end end = {.kind = QUEUE_RETURNED, .id = submission->id, .fence = submission->fence};
    queue_end(submission->manager->config.queue, &end, NULL, NULL);
    submission_free(submission);
}

void light_leased(struct task_submission *submission)
{
    struct manager *manager = submission->manager;
    submission->state = LIGHT_LEASED;
    list_append(&manager->leased, &submission->node);
    arm_collect(manager);
    if (submission->finished)
        light_end(submission);
    else if (submission->in_pool || light_run(submission))
        pool_listen(manager->pool, &submission->job);
    else
        give_back(submission);
}

void light_report(void *ctx, const struct pool_report *report)
{
    static const enum queue_update_kind kinds[] = {[POOL_PROGRESS] = QUEUE_PROGRESS,
                                                   [POOL_PARTIAL] = QUEUE_PARTIAL,
                                                   [POOL_FINAL] = QUEUE_FINAL,
                                                   [POOL_LOG] = QUEUE_LOG};
    struct manager *manager = ctx;
    struct task_submission *submission = container_of(report->job, struct task_submission, job);
    if (submission->lost)
        return;
    mark_started(submission);
    if (report->kind == POOL_STARTED)
        return;
    struct queue_update update = {.kind = kinds[report->kind],
                                  .id = submission->id,
                                  .fence = submission->fence,
                                  .attempt = submission->job.ctx.attempt,
                                  .percent = report->percent,
                                  .stage = report->stage[0] ? report->stage : NULL,
                                  .message = report->message,
                                  .meta = report->meta,
                                  .task = submission->type->name,
                                  .reported = &submission->reported};
    queue_update(manager->config.queue, &update, NULL, NULL);
}

/* ---- taking -------------------------------------------------------------------------------------- */

static void fail_at_once(struct manager *manager, const struct queue_leased *task, const char *code,
                         const char *text)
{
    struct queue_end end = {.kind = QUEUE_FAILED,
                            .id = task->id,
                            .fence = task->fence,
                            .error_code = span_of(code),
                            .error = span_of(text)};
    queue_end(manager->config.queue, &end, NULL, NULL);
}

static void take_one(struct manager *manager, const struct queue_leased *task)
{
    const struct task_type *type = task_type_find(task->task);
    struct span owner = span_of(task->owner);
    if (type == NULL || !id_valid(span_of(task->id)) || !auth_user_id_valid(owner)) {
        fail_at_once(manager, task, "unknown_task", "This hub does not know the task type");
        return;
    }
    struct task_submission *submission = submission_new(manager, type, owner);
    manager->load++;
    memcpy(submission->id, task->id, ID_SIZE);
    submission_copy_args(submission, task->args);
    submission->job.ctx.attempt = task->attempt;
    submission->fence = task->fence;
    submission->reported.rev = task->rev;
    light_leased(submission);
}

static void on_taken(void *ctx, enum queue_code code, const struct queue_leased *tasks, size_t count,
                     uint64_t next_due_ms)
{
    struct manager *manager = ctx;
    manager->leasing = false;
    if (code != QUEUE_OK)
        return;
    for (size_t i = 0; i < count; i++)
        take_one(manager, &tasks[i]);
    if (next_due_ms && next_due_ms < TICK_MS)
        uv_timer_start(manager->tick, manager->tick->timer_cb, next_due_ms, TICK_MS);
    if (manager->lease_again || count == TAKE_MAX)
        light_take(manager);
}

void light_take(struct manager *manager)
{
    unsigned room = (unsigned)manager->config.options->light_queue / 2;
    manager->lease_again = manager->leasing;
    if (manager->leasing || manager->draining || !manager->reclaimed || pool_load(manager->pool) > room)
        return;
    manager->leasing = true;
    queue_lease(manager->config.queue, "light", TAKE_MAX, on_taken, manager);
}

void manager_bell(struct manager *manager)
{
    light_take(manager);
}

/* ---- keeping ------------------------------------------------------------------------------------- */

static struct task_submission *find_leased(struct manager *manager, const char *id)
{
    list_for_each (node, &manager->leased) {
        struct task_submission *submission = container_of(node, struct task_submission, node);
        if (strcmp(submission->id, id) == 0)
            return submission;
    }
    return NULL;
}

static void stop(struct task_submission *submission)
{
    if (submission->in_pool)
        pool_cancel(submission->manager->pool, &submission->job);
}

static void on_beaten(void *ctx, enum queue_code code, const char *const *lost, size_t lost_count,
                      const char *const *cancelled, size_t cancelled_count)
{
    struct manager *manager = ctx;
    if (code != QUEUE_OK)
        return;
    for (size_t i = 0; i < lost_count; i++) {
        struct task_submission *submission = find_leased(manager, lost[i]);
        if (submission && submission->state == LIGHT_LEASED) {
            log_warn("the lease of a light task was lost", "task_id", lost[i]);
            submission->lost = true;
            stop(submission);
        }
    }
    for (size_t i = 0; i < cancelled_count; i++) {
        struct task_submission *submission = find_leased(manager, cancelled[i]);
        if (submission) {
            submission->cancel = true;
            stop(submission);
        }
    }
}

static size_t add_items(struct queue_beat_item *items, size_t count, const struct list *from)
{
    list_for_each (node, from) {
        const struct task_submission *submission = container_of(node, struct task_submission, node);
        items[count++] = (struct queue_beat_item){submission->id, submission->fence};
    }
    return count;
}

static size_t length(const struct list *list)
{
    size_t count = 0;
    list_for_each (node, list)
        count++;
    return count;
}

static void beat(struct manager *manager)
{
    size_t count = length(&manager->leased) + length(&manager->unended);
    if (count == 0)
        return;
    struct queue_beat_item *items = xcalloc(count, sizeof *items);
    count = add_items(items, 0, &manager->leased);
    count = add_items(items, count, &manager->unended);
    struct buf info = BUF_INIT;
    buf_printf(&info, "{\"kind\":\"hub\",\"queues\":[\"light\"],\"running\":%zu}", count);
    queue_beat(manager->config.queue, items, count, buf_span(&info), on_beaten, manager);
    buf_free(&info);
    free(items);
}

/* Ends that Redis did not take are tried again. */
static void end_again(struct manager *manager)
{
    struct list again;
    list_init(&again);
    list_splice(&again, &manager->unended);
    for (struct list *node; (node = list_pop(&again)) != NULL;) {
        list_append(&manager->leased, node);
        light_end(container_of(node, struct task_submission, node));
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct manager *manager = timer->data;
    uint64_t now = clock_mono_ms();
    metric_set(METRIC_LIGHT_QUEUED, pool_load(manager->pool));
    if (!manager->reclaimed || !redis_is_up(queue_redis(manager->config.queue)))
        return;
    if (now - manager->beaten_ms >= (uint64_t)manager->config.options->lease_ms / 3) {
        manager->beaten_ms = now;
        beat(manager);
    }
    end_again(manager);
    light_take(manager);
}

/* Progress that came too soon after the last one is passed on now. */
static void on_collect(uv_timer_t *timer)
{
    struct manager *manager = timer->data;
    if (list_empty(&manager->leased)) {
        uv_timer_stop(timer);
        return;
    }
    list_for_each (node, &manager->leased) {
        struct task_submission *submission = container_of(node, struct task_submission, node);
        if (submission->in_pool)
            pool_collect(manager->pool, &submission->job);
    }
}

static void arm_collect(struct manager *manager)
{
    uint64_t every = (uint64_t)manager->config.options->progress_coalesce_ms;
    if (!uv_is_active((uv_handle_t *)manager->collect))
        uv_timer_start(manager->collect, on_collect, every ? every : 1000, every ? every : 1000);
}

bool manager_cancel_local(struct manager *manager, const char *id)
{
    struct task_submission *submission = find_leased(manager, id);
    if (submission == NULL)
        return false;
    submission->cancel = true;
    stop(submission);
    return true;
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void on_reclaimed(void *ctx, enum queue_code code)
{
    struct manager *manager = ctx;
    manager->reclaimed = code == QUEUE_OK;
    light_take(manager);
}

void manager_redis_up(struct manager *manager)
{
    if (!manager->reclaimed) {
        queue_reclaim(manager->config.queue, on_reclaimed, manager);
        return;
    }
    manager->leasing = false;
    end_again(manager);
    light_take(manager);
}

void light_lease_init(struct manager *manager)
{
    uv_loop_t *uv = &manager->config.loop->uv;
    manager->tick = xmalloc(sizeof *manager->tick);
    manager->collect = xmalloc(sizeof *manager->collect);
    uv_timer_init(uv, manager->tick);
    uv_timer_init(uv, manager->collect);
    manager->tick->data = manager->collect->data = manager;
    uv_timer_start(manager->tick, on_tick, TICK_MS, TICK_MS);
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

void light_lease_deinit(struct manager *manager)
{
    list_for_each_safe (node, after, &manager->leased) {
        struct task_submission *submission = container_of(node, struct task_submission, node);
        submission->lost = true;
        if (!submission->in_pool)
            submission_free(submission);
    }
    list_for_each_safe (node, after, &manager->unended) {
        submission_free(container_of(node, struct task_submission, node));
    }
    uv_close((uv_handle_t *)manager->tick, free_handle);
    uv_close((uv_handle_t *)manager->collect, free_handle);
}
