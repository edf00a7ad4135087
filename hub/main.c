/* taskhub: the composition root. Builds the parts of a hub, connects them, and takes them apart at the
 * end; nothing else knows all of them. Everything here runs on the loop thread. */
#include "handlers/methods/methods.h"
#include "handlers/session/session.h"
#include "hub/auth/keyfile.h"
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/cmd_check.h"
#include "hub/commands.h"
#include "hub/config/cli.h"
#include "hub/net/server.h"
#include "hub/private_worker.h"
#include "hub/process.h"
#include "hub/redis/private_redis.h"
#include "hub/redis/redis_facts.h"
#include "tasks/model/routes.h"
#include "tasks/store/schema.h"
#include "tasks/types.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#define COMMAND_TIMEOUT_MS 10000
#define TICK_MS 1000
#define DRAIN_MS 4000       /* for connections and light tasks */
#define DRAIN_GUARD_MS 9000 /* then the rest is cut off */

struct hub {
    struct loop loop;
    struct options options;
    struct app app;
    struct keyring *keyring;
    struct server *server;
    struct redis *commands, *subscriber;
    struct private_redis *private_redis; /* NULL with redis.url */
    struct child *worker;                /* of the private Redis, once it is there */
    char *worker_program;
    char *redis_url; /* where the private Redis answers */
    char name[PROCESS_NAME_SIZE];
    char trouble[200]; /* why Redis cannot be used */
    bool announced, loading, loaded;
    uv_timer_t tick, guard;
    uint64_t tick_due_ms;
    uv_signal_t signals[3];
    unsigned leaving; /* parts that are still being drained */
    bool draining;
    bool on_terminal;
    int exit_code;
};

static void shut_down(struct hub *hub, int exit_code);

/* ---- readiness ------------------------------------------------------------------------------------ */

static bool is_ready(void *ctx, struct buf *reasons)
{
    struct app *app = ctx;
    struct hub *hub = container_of(app, struct hub, app);
    bool usable = app->redis_ready && !redis_is_stalled(hub->commands);
    if (usable && !hub->draining)
        return true;
    const char *redis = hub->private_redis ? private_redis_state(hub->private_redis) : NULL;
    buf_append_char(reasons, '{');
    if (!usable) {
        buf_append_text(reasons, "\"redis\":");
        buf_append_json(reasons, span_of(app->redis_ready ? "no answer" : redis ? redis : hub->trouble));
    }
    if (hub->draining)
        buf_append_text(reasons, usable ? "\"draining\":true" : ",\"draining\":true");
    buf_append_char(reasons, '}');
    return false;
}

/* Ready: commands can be given (the library is loaded) and events heard. */
static void update_ready(struct hub *hub)
{
    bool ready = hub->loaded && redis_is_up(hub->commands) && redis_is_up(hub->subscriber);
    if (ready != hub->app.redis_ready)
        app_redis(&hub->app, ready);
    metric_set(METRIC_REDIS_UP, ready);
}

/* ---- Redis ---------------------------------------------------------------------------------------- */

static void start_worker(struct hub *hub)
{
    if (hub->private_redis == NULL || hub->worker || hub->draining)
        return;
    hub->worker = private_worker_new(&hub->loop, &hub->options, hub->worker_program, hub->name,
                                     hub->redis_url, private_redis_descriptor(hub->private_redis));
}

static void on_loaded(void *ctx, enum queue_code code, const char *reason)
{
    struct hub *hub = ctx;
    hub->loading = false;
    if (!redis_is_up(hub->commands))
        return;
    if (code != QUEUE_OK) {
        snprintf(hub->trouble, sizeof hub->trouble, "%s", reason ? reason : "the functions cannot be loaded");
        log_error("Redis cannot be used", "reason", hub->trouble);
        return;
    }
    hub->loaded = true;
    update_ready(hub);
    if (hub->private_redis)
        private_redis_ready(hub->private_redis);
    start_worker(hub);
    if (hub->announced)
        log_info("Redis answers again");
    else if (!hub->draining)
        process_announce(&hub->options, hub->keyring, server_address(hub->server), hub->name);
    hub->announced = true;
    hub->trouble[0] = '\0';
}

static void on_info(void *ctx, const redisReply *reply)
{
    struct hub *hub = ctx;
    struct redis_facts facts = {0};
    hub->loading = false;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_STRING)
        redis_facts_read((struct span){reply->str, (size_t)reply->len}, &facts);
    else
        log_warn("Redis does not answer INFO", "reason", reply->str ? reply->str : "");
    const char *refusal = redis_facts_refuse(&facts, hub->options.redis_allow_volatile);
    if (refusal) {
        log_error(refusal, "version", facts.version, "maxmemory_policy", facts.policy, "aof_enabled",
                  facts.aof ? "1" : "0");
        shut_down(hub, EXIT_TROUBLE);
        return;
    }
    hub->loading = true;
    queue_load(hub->app.queue, on_loaded, hub);
}

static void load(struct hub *hub)
{
    hub->loading = true;
    redis_callv(hub->commands, on_info, hub, "INFO", NULL);
}

static void on_commands_up(void *ctx)
{
    load(ctx);
}

static void on_commands_down(void *ctx, const char *reason)
{
    struct hub *hub = ctx;
    bool expected = hub->draining || (hub->private_redis && !hub->announced);
    hub->loading = hub->loaded = false;
    update_ready(hub);
    if (!expected && strcmp(hub->trouble, reason) != 0)
        log_warn("Redis does not answer; it is tried again and again", "reason", reason);
    snprintf(hub->trouble, sizeof hub->trouble, "%s", reason);
}

static void on_subscriber_up(void *ctx)
{
    struct hub *hub = ctx;
    queue_feed_up(hub->app.feed);
    update_ready(hub);
}

static void on_subscriber_down(void *ctx, const char *reason)
{
    struct hub *hub = ctx;
    log_debug("no connection for events", "reason", reason);
    if (hub->loaded)
        snprintf(hub->trouble, sizeof hub->trouble, "%s", reason);
    update_ready(hub);
}

/* ---- what the queue and its feed tell --------------------------------------------------------------- */

static void on_event(void *ctx, const char *owner, struct event *event)
{
    struct hub *hub = ctx;
    app_event(&hub->app, owner, event);
}

static void on_bell(void *ctx, const char *queue)
{
    struct hub *hub = ctx;
    (void)queue; /* "light" is all a hub listens to */
    manager_bell(hub->app.manager);
}

static void on_cancel(void *ctx, const char *id, unsigned attempt)
{
    struct hub *hub = ctx;
    (void)attempt;
    manager_cancel_local(hub->app.manager, id);
}

static void on_admin(void *ctx, const char *owner, struct event *event)
{
    struct hub *hub = ctx;
    app_admin_event(&hub->app, owner, event);
}

/* ---- building --------------------------------------------------------------------------------------- */

static void build_queue(struct hub *hub, const struct redis_url *url)
{
    const struct options *options = &hub->options;
    const struct redis_hooks commands = {on_commands_up, on_commands_down, hub};
    const struct redis_hooks subscriber = {on_subscriber_up, on_subscriber_down, hub};
    const struct queue_config config = {
        .origin = hub->name,
        .hub = true,
        .lease_ms = (unsigned)options->lease_ms,
        .user_tasks = (unsigned)options->user_tasks,
        .global_tasks = (unsigned)options->global_tasks,
        .user_light = (unsigned)options->user_light,
        .retention_heavy_ms = (uint64_t)options->retention_heavy_s * 1000,
        .retention_light_ms = (uint64_t)options->retention_light_s * 1000,
    };
    const struct queue_feed_hooks feed = {
        .on_event = on_event, .on_bell = on_bell, .on_cancel = on_cancel, .on_admin = on_admin, .ctx = hub};
    hub->commands = redis_new(&hub->loop, url, COMMAND_TIMEOUT_MS, commands);
    hub->subscriber = redis_new(&hub->loop, url, COMMAND_TIMEOUT_MS, subscriber);
    hub->app.queue = queue_new(&hub->loop, hub->commands, &config, (struct queue_hooks){on_event, hub});
    hub->app.feed = queue_feed_new(hub->app.queue, hub->subscriber, feed);
    queue_feed_listen_bell(hub->app.feed, "light");
    queue_feed_listen_control(hub->app.feed);
}

/* Everything that needs to know where Redis is. False after an error message. */
static bool build(struct hub *hub, const char *redis_address)
{
    struct redis_url url;
    const char *why;
    char *reason = NULL;
    const struct server_config server = {.loop = &hub->loop,
                                         .options = &hub->options,
                                         .ops = session_conn_ops(),
                                         .app = &hub->app,
                                         .ready = is_ready};
    if (!redis_url_parse(redis_address, &url, &why)) {
        fprintf(stderr, "taskhub: redis.url: %s\n", why);
        hub->exit_code = EXIT_USAGE;
        return false;
    }
    hub->server = server_new(&server, &reason);
    if (hub->server == NULL) {
        fprintf(stderr, "taskhub: %s\n", reason);
        free(reason);
        redis_url_free(&url);
        hub->exit_code = EXIT_TROUBLE;
        return false;
    }
    process_name(&hub->options, server_address(hub->server), hub->name);
    snprintf(hub->trouble, sizeof hub->trouble, "connecting");
    build_queue(hub, &url);
    redis_url_free(&url);
    hub->app.owners = owners_new(&hub->loop, queue_feed_source(hub->app.feed));
    const struct manager_config manager = {.options = &hub->options,
                                           .queue = hub->app.queue,
                                           .loop = &hub->loop,
                                           .hold = app_hold,
                                           .hold_ctx = &hub->app};
    hub->app.manager = manager_new(&manager);
    app_start(&hub->app);
    return true;
}

static bool on_private_locked(void *ctx, const char *url)
{
    struct hub *hub = ctx;
    hub->redis_url = xstrdup(url);
    if (build(hub, url))
        return true;
    shut_down(hub, hub->exit_code);
    return false;
}

static void on_private_failed(void *ctx, const char *reason)
{
    fprintf(stderr, "taskhub: %s\n", reason);
    shut_down(ctx, EXIT_TROUBLE);
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

static void stop_loop(void *ctx)
{
    struct hub *hub = ctx;
    uv_stop(&hub->loop.uv);
}

static void on_drained(void *ctx)
{
    struct hub *hub = ctx;
    if (--hub->leaving)
        return;
    if (hub->private_redis)
        private_redis_stop(hub->private_redis, stop_loop, hub);
    else
        stop_loop(hub);
}

/* What still holds on is cut off: the kernel takes the children down with this process. */
static void on_guard(uv_timer_t *timer)
{
    struct hub *hub = timer->data;
    log_warn("not everything ended in time");
    _exit(hub->exit_code);
}

/* Drains connections, light tasks and the worker side by side, then stops Redis, then the loop. */
static void shut_down(struct hub *hub, int exit_code)
{
    if (hub->draining)
        return;
    hub->draining = true;
    hub->exit_code = exit_code;
    uint64_t guard = DRAIN_GUARD_MS;
    if (hub->worker && private_worker_grace_ms(&hub->options) + 2000 > guard)
        guard = private_worker_grace_ms(&hub->options) + 2000;
    uv_timer_start(&hub->guard, on_guard, guard, 0);
    hub->leaving = 1;
    if (hub->worker) {
        hub->leaving++;
        child_stop(hub->worker, private_worker_grace_ms(&hub->options), on_drained, hub);
    }
    if (hub->app.manager) {
        hub->leaving += 2;
        server_drain(hub->server, DRAIN_MS, on_drained, hub);
        manager_drain(hub->app.manager, on_drained, hub);
    }
    on_drained(hub);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct hub *hub = handle->data;
    if (number == SIGHUP && !hub->on_terminal) { /* there it says that the terminal was closed */
        if (process_reload_keys(&hub->options, &hub->keyring))
            hub->app.keyring = hub->keyring;
        return;
    }
    if (hub->draining) {
        log_warn("second signal: ending at once");
        _exit(EXIT_TROUBLE); /* the kernel takes the children down */
    }
    log_info("draining", "signal", number == SIGINT ? "SIGINT" : number == SIGHUP ? "SIGHUP" : "SIGTERM");
    shut_down(hub, EXIT_FINE);
}

/* Every connection has closed. The commands go first: whoever still waits for an answer is told while all
 * the others are there. */
static void free_hub(struct hub *hub)
{
    redis_free(&hub->commands);
    owners_free(&hub->app.owners);
    queue_feed_free(&hub->app.feed);
    queue_free(&hub->app.queue);
    manager_free(&hub->app.manager);
    if (hub->app.requests)
        app_stop(&hub->app);
    server_free(&hub->server);
    redis_free(&hub->subscriber);
    child_free(&hub->worker);
    private_redis_free(&hub->private_redis);
    for (size_t i = 0; i < NELEMS(hub->signals); i++)
        uv_close((uv_handle_t *)&hub->signals[i], NULL);
    uv_close((uv_handle_t *)&hub->tick, NULL);
    uv_close((uv_handle_t *)&hub->guard, NULL);
    loop_deinit(&hub->loop);
    for (int turn = 0; turn < 16 && uv_run(&hub->loop.uv, UV_RUN_NOWAIT); turn++)
        ;
    uv_loop_close(&hub->loop.uv);
    keyring_free(&hub->keyring);
    free(hub->worker_program);
    free(hub->redis_url);
    options_free(&hub->options);
}

/* ---- serve ------------------------------------------------------------------------------------------- */

/* Once a second: how late the loop is, and another try where Redis answers but was not usable. */
static void on_tick(uv_timer_t *timer)
{
    struct hub *hub = timer->data;
    uint64_t now = clock_mono_ms();
    metric_set(METRIC_LOG_LAG, now > hub->tick_due_ms ? now - hub->tick_due_ms : 0);
    hub->tick_due_ms = now + TICK_MS;
    if (hub->commands && redis_is_up(hub->commands) && !hub->loaded && !hub->loading && !hub->draining)
        load(hub);
}

static void start_handles(struct hub *hub)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < NELEMS(numbers); i++) {
        uv_signal_init(&hub->loop.uv, &hub->signals[i]);
        hub->signals[i].data = hub;
        uv_signal_start(&hub->signals[i], on_signal, numbers[i]);
    }
    uv_timer_init(&hub->loop.uv, &hub->tick);
    uv_timer_init(&hub->loop.uv, &hub->guard);
    hub->tick.data = hub->guard.data = hub;
    hub->tick_due_ms = clock_mono_ms() + TICK_MS;
    uv_timer_start(&hub->tick, on_tick, TICK_MS, TICK_MS);
}

static const struct cli_command serve_command = {
    .name = "serve",
    .summary = "Runs the hub. Without redis.url it starts a private Redis and a worker, too.",
    .usage = "taskhub [serve] [option…]\n"
             "       taskhub token --user ID …   prints a signed token\n"
             "       taskhub check …             checks configuration and Redis\n"
             "       taskhub config …            prints the effective configuration",
    .options = true,
};

static int cmd_serve(int argc, char **argv)
{
    static struct hub hub;
    char *reason = NULL;
    int code;
    if (!cli_begin(&serve_command, argc, argv, &hub.options, &code))
        return code;
    if (!routes_check(&hub.options, &reason) || (hub.keyring = keyfile_load(&hub.options, &reason)) == NULL ||
        !store_prepare(&hub.options, &reason)) {
        code = hub.keyring ? EXIT_TROUBLE : EXIT_USAGE;
        fprintf(stderr, "taskhub: %s\n", reason);
        free(reason);
        options_free(&hub.options);
        return code;
    }
    hub.on_terminal = isatty(STDIN_FILENO) || isatty(STDERR_FILENO);
    hub.app.options = &hub.options;
    hub.app.keyring = hub.keyring;
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

/* ---- main --------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"serve", cmd_serve}, {"token", cmd_token}, {"check", cmd_check}, {"config", cmd_config}};

static int run_command(int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-')
        return cmd_serve(argc, argv);
    for (size_t i = 0; i < NELEMS(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "taskhub: unknown command %s; there are serve, token, check, config, and --help\n",
            argv[1]);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (sodium_init() < 0)
        abort();
    task_types_use(builtin_task_types);
    int code = run_command(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    perror("taskhub: standard output");
    return code ? code : EXIT_TROUBLE;
}
