/* SPDX-License-Identifier: MIT */
/* `taskhub serve`: builds the parts of a hub, connects them, and takes them apart at the end. Nothing else
 * knows all of them. Main thread, which is the loop's. */
#include "hub/commands.h"

#include "handlers/methods/methods.h"
#include "handlers/session/revocations.h"
#include "handlers/session/session.h"
#include "hub/auth/bearers.h"
#include "hub/auth/keyfile.h"
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/base/user.h"
#include "hub/config/cli.h"
#include "hub/config/run_as.h"
#include "hub/hub.h"
#include "hub/private_worker.h"
#include "tasks/model/task_type.h"
#include "tasks/store/schema.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define TICK_MS 1000

/* ---- building --------------------------------------------------------------------------------------- */

static void on_name_taken(void *ctx, const char *reason)
{
    struct hub *hub = container_of((struct app *)ctx, struct hub, app);
    log_error(reason);
    drain_begin(hub, EXIT_TROUBLE);
}

static void build_queue(struct hub *hub, const struct redis_url *url)
{
    const struct options *options = &hub->options;
    const struct queue_config config = {
        .origin = hub->name,
        .hub = true,
        .numbered = *options->hub_name == '\0',
        .private_worker = hub->worker_name,
        .lease_ms = (unsigned)options->lease_ms,
        .user_tasks = (unsigned)options->user_tasks,
        .global_tasks = (unsigned)options->global_tasks,
        .user_light = (unsigned)options->user_light,
        .user_delayed = (unsigned)options->user_delayed,
        .owner_bytes = (uint64_t)options->owner_bytes,
        .user_rows_per_s = options->user_rows_per_s,
        .retention_heavy_ms = (uint64_t)options->retention_heavy_s * 1000,
        .retention_light_ms = (uint64_t)options->retention_light_s * 1000,
    };
    const struct queue_feed_hooks feed = {.on_event = app_event,
                                          .on_bell = app_bell,
                                          .on_cancel = app_cancel,
                                          .on_admin = app_admin_event,
                                          .on_epoch = app_epoch,
                                          .ctx = &hub->app};
    readiness_connect(hub, url);
    hub->app.queue = queue_new(&hub->loop, hub->commands, &config,
                               (struct queue_hooks){app_event, &hub->app, on_name_taken});
    if (hub->confirmed)
        queue_confirm(hub->app.queue, hub->confirmed);
    hub->app.feed = queue_feed_new(hub->app.queue, hub->subscriber, feed);
    queue_feed_listen_bell(hub->app.feed, "light");
    queue_feed_listen_control(hub->app.feed);
}

static bool open_server(struct hub *hub)
{
    const struct server_config config = {.loop = &hub->loop,
                                         .options = &hub->options,
                                         .ops = session_conn_ops(),
                                         .app = &hub->app,
                                         .ready = readiness_ask};
    char *reason = NULL;
    hub->server = server_new(&config, &reason);
    user_keep_no_ports(); /* the one port is open */
    if (hub->server) {
        process_name(&hub->options, server_address(hub->server), hub->name);
        return true;
    }
    fprintf(stderr, "taskhub: %s\n", reason);
    free(reason);
    hub->exit_code = EXIT_TROUBLE;
    return false;
}

static void build_app(struct hub *hub)
{
    hub->app.owners = owners_new(&hub->loop, queue_feed_source(hub->app.feed));
    const struct manager_config manager = {
        .options = &hub->options, .queue = hub->app.queue, .loop = &hub->loop, .owners = hub->app.owners};
    hub->app.manager = manager_new(&manager);
    app_start(&hub->app);
    revocations_start(&hub->app);
}

/* Builds everything that needs to know where Redis is. False after an error message. */
static bool build(struct hub *hub, const char *redis_address)
{
    struct redis_url url;
    if (!open_server(hub))
        return false;
    if (redis_url_parse(redis_address, &url))
        abort(); /* it was checked with the options */
    if (hub->private_redis)
        hub->worker_name = private_worker_name(&hub->options, hub->name);
    build_queue(hub, &url);
    build_app(hub);
    redis_url_free(&url);
    return true;
}

static bool on_private_locked(void *ctx, const char *url)
{
    struct hub *hub = ctx;
    hub->redis_url = xstrdup(url);
    if (build(hub, url))
        return true;
    drain_begin(hub, hub->exit_code);
    return false;
}

static void on_private_failed(void *ctx, const char *reason)
{
    fprintf(stderr, "taskhub: %s\n", reason);
    drain_begin(ctx, EXIT_TROUBLE);
}

/* Starts what the configuration asks for. False after an error message. */
static bool begin(struct hub *hub)
{
    const struct private_redis_hooks hooks = {on_private_locked, on_private_failed, hub};
    char *reason = NULL;
    hub->exit_code = EXIT_TROUBLE;
    if (*hub->options.redis_url)
        return build(hub, hub->options.redis_url);
    hub->worker_program = private_worker_program(&reason);
    if (hub->worker_program)
        hub->private_redis = private_redis_new(&hub->loop, &hub->options, hooks, &reason);
    if (hub->private_redis)
        return true;
    fprintf(stderr, "taskhub: %s\n", reason);
    free(reason);
    return false;
}

/* ---- ending ----------------------------------------------------------------------------------------- */

static void new_keys(struct hub *hub)
{
    hub->app.keyring = hub->keyring;
    bearers_new_keys(hub->app.bearers, hub->keyring);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct hub *hub = handle->data;
    if (number == SIGHUP && !hub->on_terminal) { /* there it says that the terminal was closed */
        if (process_reload_keys(&hub->options, &hub->keyring))
            new_keys(hub);
        return;
    }
    if (hub->draining) {
        log_warn("second signal: ending at once");
        _exit(EXIT_TROUBLE); /* the kernel takes the children down */
    }
    log_info("draining", "signal", number == SIGINT ? "SIGINT" : number == SIGHUP ? "SIGHUP" : "SIGTERM");
    drain_begin(hub, EXIT_FINE);
}

static void free_loop(struct hub *hub)
{
    loop_close(hub->tick);
    loop_close(hub->guard);
    loop_deinit(&hub->loop);
}

/* The commands go first, so that whoever waits for an answer is told while all others are there; then each
 * goes before what it uses, the loop last. */
static void free_hub(struct hub *hub)
{
    redis_free(&hub->commands);
    redis_free(&hub->confirmed);
    revocations_stop(&hub->app);
    owners_free(&hub->app.owners);
    queue_feed_free(&hub->app.feed);
    queue_free(&hub->app.queue);
    loop_close(hub->probe_timer); /* the loop turns on while the server goes, and a probe asks the queue */
    manager_free(&hub->app.manager);
    if (hub->app.requests)
        app_stop(&hub->app);
    server_free(&hub->server);
    redis_free(&hub->subscriber);
    redis_free(&hub->probe);
    child_free(&hub->worker);
    private_redis_free(&hub->private_redis);
    free_loop(hub);
    bearers_free(&hub->app.bearers);
    keyring_free(&hub->keyring);
    free(hub->worker_program);
    free(hub->worker_name);
    free(hub->redis_url);
    options_free(&hub->options);
}

/* ---- serve ------------------------------------------------------------------------------------------- */

/* Once a second measures how late the loop is, and tries a Redis again that could not be used. */
static void on_tick(uv_timer_t *timer)
{
    struct hub *hub = timer->data;
    uint64_t now = clock_mono_ms();
    metric_set(METRIC_LOG_LAG, now > hub->tick_due_ms ? now - hub->tick_due_ms : 0);
    hub->tick_due_ms = now + TICK_MS;
    readiness_retry(hub);
}

static void start_handles(struct hub *hub)
{
    loop_signals(&hub->loop, (const int[]){SIGINT, SIGTERM, SIGHUP, 0}, on_signal, hub);
    hub->tick = loop_timer(&hub->loop, hub);
    hub->guard = loop_timer(&hub->loop, hub);
    hub->probe_timer = loop_timer(&hub->loop, hub);
    hub->tick_due_ms = clock_mono_ms() + TICK_MS;
    uv_timer_start(hub->tick, on_tick, TICK_MS, TICK_MS);
}

static const struct cli_command serve_command = {
    .program = "taskhub",
    .name = "taskhub serve",
    .summary = "Runs the hub. Without redis.url it starts a private Redis and a worker, too.",
    .usage = "taskhub [serve] [option…]\n"
             "       taskhub token --user ID …   prints a signed token\n"
             "       taskhub token revoke …      revokes a token\n"
             "       taskhub check …             checks configuration and Redis\n"
             "       taskhub config …            prints the effective configuration",
};

/* Checks what must be right before anything is started. EXIT_FINE, or the exit code after an error message.
 */
static int prepare(struct hub *hub)
{
    char *reason = NULL;
    const char *warning = run_as_warn(&hub->options);
    bool somebody = run_as(&hub->options, true, &reason);
    if (warning)
        log_warn(warning);
    if (somebody && task_types_route(&hub->options, &reason) &&
        (hub->keyring = keyfile_load(&hub->options, &reason)) != NULL &&
        store_prepare(&hub->options, &reason))
        return EXIT_FINE;
    fprintf(stderr, "taskhub: %s\n", reason);
    free(reason);
    return hub->keyring ? EXIT_TROUBLE : EXIT_USAGE;
}

int cmd_serve(int argc, char **argv)
{
    static struct hub hub;
    int code;
    if (!cli_begin(&serve_command, argc, argv, &hub.options, &code))
        return code;
    code = prepare(&hub);
    if (code != EXIT_FINE) {
        options_free(&hub.options);
        return code;
    }
    hub.on_terminal = isatty(STDIN_FILENO) || isatty(STDERR_FILENO);
    hub.app.options = &hub.options;
    hub.app.keyring = hub.keyring;
    hub.app.bearers = bearers_new();
    hub.app.loop = &hub.loop;
    process_raise_descriptors(&hub.options);
    if (loop_init(&hub.loop) != 0)
        return EXIT_TROUBLE;
    start_handles(&hub);
    if (begin(&hub))
        uv_run(&hub.loop.uv, UV_RUN_DEFAULT);
    code = hub.exit_code;
    free_hub(&hub);
    return code;
}
