/* SPDX-License-Identifier: MIT */
/* A hub for fuzzing: the real methods, manager, queue and owners over a Redis that never answers, and one
 * reader (tests/lib/reader.h). Checks every text that goes to the client. Include it once. */
#pragma once

#include "handlers/methods/methods.h"
#include "hub/base/log.h"
#include "hub/config/options_table.h"
#include "tasks/types.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/reader.h"

static struct loop loop;
static struct options options;
static struct app app;
static struct reader *reader;

static void start_once(void)
{
    struct redis_url url = {.unix_path = (char[]){"/nonexistent/redis"}};
    const struct queue_config queue = {.origin = "fuzz", .hub = true, .lease_ms = 15000};
    if (app.options)
        return;
    log_setup("fuzz", "error", "logfmt");
    option_fill_defaults(&options);
    options.light_threads = 1;
    free(options.data_dir);
    options.data_dir = xstrdup("/nonexistent");
    if (loop_init(&loop) < 0)
        abort();
    task_types_use(builtin_task_types);
    app = (struct app){.options = &options, .loop = &loop, .redis_ready = true};
    struct redis *redis = redis_new(&loop, &url, 0, (struct redis_hooks){NULL, NULL, NULL});
    app.queue = queue_new(&loop, redis, &queue, (struct queue_hooks){0});
    app.feed = queue_feed_new(app.queue, redis, (struct queue_feed_hooks){.on_event = NULL});
    app.owners = owners_new(&loop, queue_feed_source(app.feed));
    app.manager = manager_new(&(struct manager_config){
        .options = &options, .queue = app.queue, .loop = &loop, .owners = app.owners});
}

static inline void client_comes(bool authenticated, unsigned roles)
{
    start_once();
    app_start(&app);
    reader = reader_new(&app, authenticated ? "fuzz" : NULL, roles);
}

static inline void check_log(void)
{
    const char *reason;
    struct span log = buf_span(&reader->log);
    while (log.n) {
        struct span line = {log.p, (size_t)((const char *)memchr(log.p, '\n', log.n) - log.p)};
        enum json_kind kind = json_check(line, JSON_LIMITS, &reason);
        HOLDS(kind == KIND_ARRAY ||
              (kind == KIND_OBJECT && json_string_is(json_get(line, "jsonrpc"), "2.0")));
        log = (struct span){line.p + line.n + 1, log.n - line.n - 1};
    }
    buf_clear(&reader->log);
}

static inline void client_says(struct span message)
{
    rpc_message(&reader->answerer, message, false);
    check_log();
}

/* `hangs`: whoever waits for Redis is answered before it is. */
static inline void turn(bool hangs)
{
    if (hangs)
        requests_stalled(app.requests);
    loop_flush(&loop);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    check_log();
}

/* The client leaves while answers are outstanding; everything is as before it came. */
static inline void client_leaves(void)
{
    reader_gone(reader);
    for (int i = 0; i < 2 || manager_load(app.manager); i++) {
        loop_flush(&loop);
        uv_run(&loop.uv, i < 2 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    }
    app_stop(&app);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}
