/* SPDX-License-Identifier: MIT */
/* The life of the worker's parent; see worker.h. Owns its loop and its connections to Redis. Main thread.
 * Never runs a task: the runner owns the leased ones. */
#include "tasks/worker/worker.h"

#include "hub/base/clock.h"
#include "hub/base/id.h"
#include "hub/base/log.h"
#include "hub/redis/redis.h"
#include "tasks/runner/runner.h"
#include "tasks/runner/slots/slots.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define COMMAND_TIMEOUT_MS 10000
#define LEAVE_MS 500 /* time to give the name back */
#define POLL_MS 500  /* makes up for lost bells */

struct worker {
    const struct options *options;
    const char *version;
    char host[65];
    char started_at[25];
    struct loop loop;
    struct redis *commands, *subscriber;
    struct queue *queue;
    struct queue_feed *feed;
    struct runner *runner;
    char trouble[128]; /* the last reason why Redis was unusable; "" while it is usable */
    bool loaded;       /* Redis answers and has the library */
    bool refused;      /* this version cannot read the data in Redis, or another worker has the name */
    bool loading;
    bool draining;
    uv_timer_t *second;
};

static const struct engine *const engines[] = {&slots_engine, NULL};

/* ---- what the runner asks and says --------------------------------------------------------------- */

static void write_info(void *ctx, struct buf *to)
{
    const struct worker *worker = ctx;
    const char *separator = "";
    buf_append_text(to, "{\"name\":");
    buf_append_json(to, span_of(queue_name(worker->queue)));
    buf_append_text(to, ",\"host\":");
    buf_append_json(to, span_of(worker->host));
    buf_printf(to, ",\"pid\":%d,\"version\":\"%s\",\"started_at\":\"%s\",\"tasks_done\":%llu", (int)getpid(),
               worker->version, worker->started_at, (unsigned long long)runner_done(worker->runner));
    buf_printf(to, ",\"draining\":%s,\"slots\":{", worker->draining ? "true" : "false");
    for (const char *const *queue = slots_engine.queues; *queue; queue++, separator = ",") {
        struct engine_health health = runner_health(runner_lane(worker->runner, *queue));
        buf_printf(to, "%s\"%s\":{\"busy\":%u,\"total\":%u}", separator, *queue, health.busy, health.total);
    }
    buf_append_text(to, "}}");
}

static void on_ready(void *ctx)
{
    const struct worker *worker = ctx;
    log_info("worker ready", "name", queue_name(worker->queue));
}

static void stop(struct worker *worker)
{
    uv_stop(&worker->loop.uv);
}

static void on_left(void *ctx, enum queue_code code)
{
    (void)code;
    stop(ctx);
}

static void on_late(uv_timer_t *timer)
{
    stop(timer->data);
}

/* Gives the name back only if nothing is held any more: else other workers get those tasks sooner while
 * the name is known. */
static void on_drained(void *ctx)
{
    struct worker *worker = ctx;
    if (!worker->loaded || runner_load(worker->runner)) {
        stop(worker);
        return;
    }
    uv_timer_start(worker->second, on_late, LEAVE_MS, 0);
    queue_leave(worker->queue, on_left, worker);
}

static void on_name_taken(void *ctx, const char *reason)
{
    struct worker *worker = ctx;
    log_error(reason);
    worker->refused = true;
    stop(worker);
}

/* ---- Redis comes and goes ------------------------------------------------------------------------ */

static void on_loaded(void *ctx, enum queue_code code, const char *reason)
{
    struct worker *worker = ctx;
    worker->loading = false;
    if (!redis_is_up(worker->commands))
        return;
    worker->loaded = code == QUEUE_OK;
    if (worker->loaded)
        runner_up(worker->runner);
    else if (strcmp(worker->trouble, reason) != 0) /* logged once: it is retried each second */
        log_error("Redis cannot be used", "reason", reason);
    snprintf(worker->trouble, sizeof worker->trouble, "%s", worker->loaded ? "" : reason);
    if (code == QUEUE_STATE) { /* it will not change back */
        worker->refused = true;
        stop(worker);
    }
}

static void load(struct worker *worker)
{
    if (worker->loaded || worker->loading || !redis_is_up(worker->commands))
        return;
    worker->loading = true;
    queue_load(worker->queue, on_loaded, worker);
}

static void on_up(void *ctx)
{
    struct worker *worker = ctx;
    worker->loaded = worker->loading = false;
    worker->trouble[0] = '\0';
    load(worker);
}

static void on_down(void *ctx, const char *reason)
{
    struct worker *worker = ctx;
    if (worker->loaded)
        log_warn("Redis was lost; running tasks go on", "reason", reason);
    else if (strcmp(worker->trouble, reason) != 0)
        log_warn("Redis does not answer; it is tried again and again", "reason", reason);
    snprintf(worker->trouble, sizeof worker->trouble, "%s", reason);
    worker->loaded = false;
    runner_down(worker->runner);
}

static void on_subscriber_up(void *ctx)
{
    struct worker *worker = ctx;
    queue_feed_up(worker->feed);
    runner_bell(worker->runner, NULL);
    runner_beat(worker->runner); /* fetches the cancels that were missed */
}

static void on_subscriber_down(void *ctx, const char *reason)
{
    (void)ctx;
    log_debug("the subscriptions were lost", "reason", reason);
}

static void on_second(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    redis_check_role(worker->commands);
    load(worker);
}

/* ---- what the feed and the system say ------------------------------------------------------------ */

static void on_bell(void *ctx, const char *queue)
{
    const struct worker *worker = ctx;
    runner_bell(worker->runner, queue);
}

static void on_cancel(void *ctx, const char *id, unsigned fence)
{
    const struct worker *worker = ctx;
    runner_cancel(worker->runner, id, fence);
}

static void on_audio(void *ctx, const char *id)
{
    const struct worker *worker = ctx;
    runner_audio(worker->runner, id);
}

/* Drains at the first signal, stops running tasks at the second. */
static void on_signal(uv_signal_t *handle, int number)
{
    struct worker *worker = handle->data;
    if (!worker->draining)
        log_info("draining", "signal", LOG_NUM(number), "held", LOG_NUM(runner_load(worker->runner)));
    worker->draining = true;
    runner_drain(worker->runner, 1000 * (uint64_t)worker->options->worker_drain_s, on_drained, worker);
}

/* ---- beginning and end --------------------------------------------------------------------------- */

static void start_clocks(struct worker *worker)
{
    worker->second = loop_timer(&worker->loop, worker);
    uv_timer_start(worker->second, on_second, 1000, 1000);
    loop_signals(&worker->loop, (const int[]){SIGTERM, SIGINT, 0}, on_signal, worker);
}

static void start_redis(struct worker *worker, const struct redis_url *url)
{
    const struct options *options = worker->options;
    struct redis_hooks commands = {on_up, on_down, worker};
    struct redis_hooks subscriber = {on_subscriber_up, on_subscriber_down, worker};
    const bool named = *options->worker_name;
    char host[ID_HOST_SIZE];
    id_host(host);
    options_clean_name(host);
    struct queue_config config = {
        .origin = named ? options->worker_name : host,
        .numbered = !named,
        .lease_ms = (unsigned)options->lease_ms,
        .user_tasks = (unsigned)options->user_tasks,
        .global_tasks = (unsigned)options->global_tasks,
        .retention_heavy_ms = 1000 * (uint64_t)options->retention_heavy_s,
        .retention_light_ms = 1000 * (uint64_t)options->retention_light_s,
    };
    worker->commands = redis_new(&worker->loop, url, COMMAND_TIMEOUT_MS, commands);
    worker->subscriber = redis_new(&worker->loop, url, COMMAND_TIMEOUT_MS, subscriber);
    redis_follow(worker->subscriber, worker->commands);
    worker->queue = queue_new(&worker->loop, worker->commands, &config,
                              (struct queue_hooks){.on_name_taken = on_name_taken, .ctx = worker});
    worker->feed =
        queue_feed_new(worker->queue, worker->subscriber,
                       (struct queue_feed_hooks){
                           .on_bell = on_bell, .on_cancel = on_cancel, .on_audio = on_audio, .ctx = worker});
    for (const char *const *queue = slots_engine.queues; *queue; queue++)
        queue_feed_listen_bell(worker->feed, *queue);
    queue_feed_listen_control(worker->feed);
}

static void start_runner(struct worker *worker)
{
    const struct runner_config config = {.loop = &worker->loop,
                                         .options = worker->options,
                                         .queue = worker->queue,
                                         .engines = engines,
                                         .poll_ms = POLL_MS,
                                         .beats_idle = true,
                                         .hooks = {.ready = on_ready, .info = write_info},
                                         .ctx = worker};
    worker->runner = runner_new(&config);
}

static void close_all(struct worker *worker)
{
    redis_free(&worker->commands); /* answers what is under way */
    queue_feed_free(&worker->feed);
    queue_free(&worker->queue);
    redis_free(&worker->subscriber);
    runner_free(&worker->runner);
    loop_close(worker->second);
    loop_deinit(&worker->loop);
}

int worker_run(const struct options *options, const char *version)
{
    static struct worker worker;
    struct redis_url url;
    worker.options = options;
    worker.version = version;
    if (redis_url_parse(options->redis_url, &url))
        abort(); /* checked with the options */
    if (gethostname(worker.host, sizeof worker.host - 1) < 0 || loop_init(&worker.loop) < 0)
        return 1;
    clock_format(clock_wall_ms(), worker.started_at);
    start_redis(&worker, &url);
    redis_url_free(&url);
    start_runner(&worker);
    start_clocks(&worker);
    uv_run(&worker.loop.uv, UV_RUN_DEFAULT);
    log_info("worker ends", "name", queue_name(worker.queue), "done", LOG_NUM(runner_done(worker.runner)));
    close_all(&worker);
    return worker.refused ? 1 : 0;
}
