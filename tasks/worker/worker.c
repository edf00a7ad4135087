/* The life of the worker's parent; see worker.h. Loop thread, the only one. Its state in short: Redis comes
 * and goes (`ready`), tasks go on meanwhile and what they say is kept; SIGTERM begins the drain. */
#include "tasks/worker/worker_private.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define COMMAND_TIMEOUT_MS 10000
#define POLL_MS 500          /* heals lost bells */
#define REPORT_GRACE_MS 1500 /* after the drain, for the last reports */

/* ---- beats ------------------------------------------------------------------------------------------------
 */

static void on_beaten(void *ctx, enum queue_code code, const char *const *lost, size_t lost_count,
                      const char *const *cancelled, size_t cancelled_count)
{
    struct worker *worker = ctx;
    struct worker_task *task;
    if (code != QUEUE_OK)
        return;
    for (size_t i = 0; i < lost_count; i++)
        if ((task = worker_task_find(worker, lost[i])) != NULL)
            worker_task_lose(task);
    for (size_t i = 0; i < cancelled_count; i++)
        if ((task = worker_task_find(worker, cancelled[i])) != NULL)
            worker_task_cancel(task);
}

static void write_info(const struct worker *worker, struct buf *to)
{
    buf_append_text(to, "{\"name\":");
    buf_append_json(to, span_of(worker->name));
    buf_append_text(to, ",\"host\":");
    buf_append_json(to, span_of(worker->host));
    buf_printf(to, ",\"pid\":%d,\"version\":\"%s\",\"started_at\":\"%s\",\"tasks_done\":%llu", (int)getpid(),
               worker->version, worker->started_at, (unsigned long long)worker->done);
    buf_printf(to, ",\"draining\":%s,\"slots\":{", worker->draining ? "true" : "false");
    for (enum slot_lane i = 0; i < LANES; i++)
        buf_printf(to, "%s\"%s\":{\"busy\":%u,\"total\":%u}", i ? "," : "", slot_lane_names[i],
                   slots_busy(worker->slots, i), slots_total(worker->slots, i));
    buf_append_text(to, "}}");
}

static void beat(struct worker *worker)
{
    struct buf info = BUF_INIT;
    struct queue_beat_item *items = xcalloc(worker->task_count + 1, sizeof *items);
    size_t count = 0;
    if (!worker->ready) {
        free(items);
        return;
    }
    list_for_each (node, &worker->tasks) {
        const struct worker_task *task = container_of(node, struct worker_task, node);
        if (!task->lost)
            items[count++] = (struct queue_beat_item){task->id, task->job.fence};
    }
    write_info(worker, &info);
    queue_beat(worker->queue, items, count, buf_span(&info), on_beaten, worker);
    buf_free(&info);
    free(items);
}

static void on_beat(uv_timer_t *timer)
{
    beat(timer->data);
}

/* ---- Redis comes and goes
 * ----------------------------------------------------------------------------------- */

/* The functions are there and nothing of a predecessor is left: work begins or goes on. */
static void go(struct worker *worker)
{
    worker->ready = true;
    worker_tell_again(worker);
    beat(worker);
    worker_hungry_all(worker);
    list_for_each_safe (node, after, &worker->tasks) {
        struct worker_task *task = container_of(node, struct worker_task, node);
        if (task->job.type)
            worker_stream_read(task);
    }
}

static void on_reclaimed(void *ctx, enum queue_code code)
{
    struct worker *worker = ctx;
    worker->loading = false;
    if (code != QUEUE_OK || !redis_is_up(worker->commands))
        return; /* again with the next second */
    worker->reclaimed = true;
    log_info("worker ready", "name", worker->name);
    go(worker);
}

static void on_loaded(void *ctx, enum queue_code code, const char *reason)
{
    struct worker *worker = ctx;
    worker->loading = false;
    if (!redis_is_up(worker->commands))
        return;
    if (code != QUEUE_OK) {
        log_error("Redis cannot be used", "reason", reason);
    } else if (worker->reclaimed) {
        go(worker);
    } else {
        worker->loading = true;
        queue_reclaim(worker->queue, on_reclaimed, worker);
    }
}

static void load(struct worker *worker)
{
    if (worker->ready || worker->loading || !redis_is_up(worker->commands))
        return;
    worker->loading = true;
    queue_load(worker->queue, on_loaded, worker);
}

static void on_up(void *ctx)
{
    struct worker *worker = ctx;
    worker->ready = worker->loading = false;
    worker->trouble[0] = '\0';
    load(worker);
}

static void on_down(void *ctx, const char *reason)
{
    struct worker *worker = ctx;
    if (worker->ready)
        log_warn("Redis was lost; running tasks go on", "reason", reason);
    else if (strcmp(worker->trouble, reason) != 0)
        log_warn("Redis does not answer; it is tried again and again", "reason", reason);
    snprintf(worker->trouble, sizeof worker->trouble, "%s", reason);
    worker->ready = false;
}

static void on_subscriber_up(void *ctx)
{
    struct worker *worker = ctx;
    queue_feed_up(worker->feed);
    worker_hungry_all(worker);
    beat(worker); /* brings the cancels that were missed */
}

static void on_subscriber_down(void *ctx, const char *reason)
{
    (void)ctx;
    log_debug("the subscriptions were lost", "reason", reason);
}

/* ---- what the feed says
 * ---------------------------------------------------------------------------------------- */

static void on_bell(void *ctx, const char *queue)
{
    for (enum slot_lane i = 0; i < LANES; i++)
        if (strcmp(queue, slot_lane_names[i]) == 0)
            worker_hungry(ctx, i);
}

static void on_cancel(void *ctx, const char *id, unsigned fence)
{
    struct worker *worker = ctx;
    struct worker_task *task = worker_task_find(worker, id);
    if (task == NULL)
        worker_remember_cancel(worker, id);
    else if (fence == 0 || fence == task->job.fence)
        worker_task_cancel(task);
}

static void on_audio(void *ctx, const char *id)
{
    struct worker_task *task = worker_task_find(ctx, id);
    if (task && task->job.type)
        worker_stream_read(task);
}

/* ---- time, drain
 * ------------------------------------------------------------------------------------------------- */

static void on_poll(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    load(worker);
    worker_hungry_all(worker);
    if (!worker->ready)
        return;
    worker_tell_again(worker);
    list_for_each_safe (node, after, &worker->tasks) {
        struct worker_task *task = container_of(node, struct worker_task, node);
        if (task->job.type && task->job.type->stream)
            worker_stream_read(task);
    }
}

static void kill_running(struct worker *worker)
{
    worker->killed = true;
    worker->exit_by_ms = clock_mono_ms() + REPORT_GRACE_MS;
    slots_stop_all(worker->slots, STOP_DRAIN);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct worker *worker = handle->data;
    if (worker->draining) {
        kill_running(worker); /* asked twice */
        return;
    }
    log_info("draining", "signal", LOG_NUM(number), "running", LOG_NUM(slots_jobs(worker->slots)));
    worker->draining = true;
    worker->drain_end_ms = clock_mono_ms() + 1000 * (uint64_t)worker->options->worker_drain_s;
    slots_return_all(worker->slots);
    beat(worker); /* the list of workers shows it */
}

/* Whether there is nothing left to wait for. */
static bool drained(struct worker *worker)
{
    uint64_t now = clock_mono_ms();
    if (worker->task_count == 0 && !(worker->ready && worker_expects(worker)))
        return true;
    if (!worker->killed && slots_jobs(worker->slots) == 0) {
        worker->killed = true; /* nothing runs: only reports are on their way */
        worker->exit_by_ms = now + REPORT_GRACE_MS;
    }
    if (!worker->killed && now >= worker->drain_end_ms)
        kill_running(worker);
    return worker->killed && now >= worker->exit_by_ms;
}

static void on_turn(void *ctx)
{
    struct worker *worker = ctx;
    worker_lease(worker);
    if (worker->draining && !worker->stopped && drained(worker)) {
        worker->stopped = true;
        uv_stop(&worker->loop.uv);
    }
}

/* ---- beginning and end
 * ------------------------------------------------------------------------------------------------ */

static void start_clocks(struct worker *worker)
{
    uv_loop_t *uv = &worker->loop.uv;
    uint64_t beat_ms = (uint64_t)worker->options->lease_ms / 3;
    uv_timer_t *timers[] = {&worker->second, &worker->beat, &worker->due};
    for (size_t i = 0; i < NELEMS(timers); i++) {
        uv_timer_init(uv, timers[i]);
        timers[i]->data = worker;
    }
    uv_timer_start(&worker->second, on_poll, POLL_MS, POLL_MS);
    uv_timer_start(&worker->beat, on_beat, beat_ms, beat_ms);
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < NELEMS(numbers); i++) {
        uv_signal_init(uv, &worker->signals[i]);
        worker->signals[i].data = worker;
        uv_signal_start(&worker->signals[i], on_signal, numbers[i]);
    }
}

static void start_redis(struct worker *worker, const struct redis_url *url)
{
    const struct options *options = worker->options;
    struct redis_hooks commands = {on_up, on_down, worker};
    struct redis_hooks subscriber = {on_subscriber_up, on_subscriber_down, worker};
    struct queue_config config = {
        .origin = worker->name,
        .lease_ms = (unsigned)options->lease_ms,
        .user_tasks = (unsigned)options->user_tasks,
        .global_tasks = (unsigned)options->global_tasks,
        .retention_heavy_ms = 1000 * (uint64_t)options->retention_heavy_s,
        .retention_light_ms = 1000 * (uint64_t)options->retention_light_s,
    };
    worker->commands = redis_new(&worker->loop, url, COMMAND_TIMEOUT_MS, commands);
    worker->subscriber = redis_new(&worker->loop, url, COMMAND_TIMEOUT_MS, subscriber);
    worker->queue = queue_new(&worker->loop, worker->commands, &config, (struct queue_hooks){0});
    worker->feed =
        queue_feed_new(worker->queue, worker->subscriber,
                       (struct queue_feed_hooks){
                           .on_bell = on_bell, .on_cancel = on_cancel, .on_audio = on_audio, .ctx = worker});
    for (enum slot_lane i = 0; i < LANES; i++)
        queue_feed_listen_bell(worker->feed, slot_lane_names[i]);
    queue_feed_listen_control(worker->feed);
}

static void close_all(struct worker *worker)
{
    slots_free(&worker->slots);
    queue_feed_free(&worker->feed);
    queue_free(&worker->queue);
    redis_free(&worker->subscriber);
    redis_free(&worker->commands);
    while (!list_empty(&worker->tasks))
        worker_task_free(container_of(worker->tasks.next, struct worker_task, node));
    worker_forget_questions(worker);
    uv_handle_t *handles[] = {(uv_handle_t *)&worker->second, (uv_handle_t *)&worker->beat,
                              (uv_handle_t *)&worker->due, (uv_handle_t *)&worker->signals[0],
                              (uv_handle_t *)&worker->signals[1]};
    for (size_t i = 0; i < NELEMS(handles); i++)
        uv_close(handles[i], NULL);
    loop_deinit(&worker->loop);
    uv_run(&worker->loop.uv, UV_RUN_DEFAULT);
    uv_loop_close(&worker->loop.uv);
}

int worker_run(const struct options *options, const char *name, const char *version)
{
    static struct worker worker;
    struct redis_url url;
    const char *reason;
    worker.options = options;
    worker.name = name;
    worker.version = version;
    if (!redis_url_parse(options->redis_url, &url, &reason)) {
        log_error("the worker has no Redis", "option", "redis.url", "reason", reason);
        return 2;
    }
    if (gethostname(worker.host, sizeof worker.host - 1) < 0 || loop_init(&worker.loop) < 0)
        return 1;
    clock_format(clock_wall_ms(), worker.started_at);
    list_init(&worker.tasks);
    list_init(&worker.questions);
    for (enum slot_lane i = 0; i < LANES; i++) {
        worker.lanes[i].worker = &worker;
        worker.lanes[i].which = i;
    }
    for (size_t i = 0; i < WORKER_BUCKETS; i++)
        list_init(&worker.buckets[i]);
    worker.slots = slots_new(
        &(struct slots_config){.loop = &worker.loop, .options = options, .hooks = worker_slots_hooks});
    loop_hook(&worker.loop, LOOP_STAGE_POOL, on_turn, &worker);
    start_redis(&worker, &url);
    redis_url_free(&url);
    start_clocks(&worker);
    uv_run(&worker.loop.uv, UV_RUN_DEFAULT);
    log_info("worker ends", "name", name, "done", LOG_NUM(worker.done));
    close_all(&worker);
    return 0;
}
