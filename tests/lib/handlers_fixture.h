/* A hub for tests of the handlers: real handlers, owners, manager and pool over connections, a queue and task
 * types of the test's own. Include it once. */
#pragma once

#include "handlers/methods/methods.h"
#include "handlers/session/session.h"
#include "hub/base/clock.h"
#include "hub/config/options.h"
#include "tasks/model/ctx.h"
#include "tests/lib/fake_conn.h"
#include "tests/lib/fake_queue.h"
#include "tests/lib/tap.h"

#include <sodium.h>

static struct loop loop;
static struct options options;
static struct app app;
static struct conn_ops ops;
static struct keyring *ring;
static uv_timer_t heartbeat;

/* ---- a log that is empty, and two task types ------------------------------------------------------- */

static bool source_hangs; /* attach gets no answer */
static owner_position_fn *attach_fn;
static void *attach_ctx;

static void source_attach(void *ctx, const char *owner, owner_position_fn *fn, void *fn_ctx)
{
    (void)ctx;
    (void)owner;
    if (source_hangs) {
        attach_fn = fn;
        attach_ctx = fn_ctx;
        return;
    }
    struct owner_position at = {.ok = true, .epoch = "e1", .head = fake.seq};
    fn(fn_ctx, &at);
}
static inline void source_answers(void)
{
    struct owner_position at = {.ok = true, .epoch = "e1", .head = fake.seq};
    source_hangs = false;
    attach_fn(attach_ctx, &at);
}
static void source_detach(void *ctx, const char *owner)
{
    (void)ctx;
    (void)owner;
}
static void source_replay(void *ctx, const char *owner, uint64_t after, size_t max, owner_replay_fn *fn,
                          void *fn_ctx)
{
    (void)ctx;
    (void)owner;
    (void)after;
    (void)max;
    struct owner_replay replay = {.ok = true, .gap = true};
    fn(fn_ctx, &replay);
}

static void run_quick(struct task_ctx *ctx)
{
    task_finish(ctx, NULL);
}
static const struct json_field speech_args[] = {
    {.name = "resource_id", .kinds = KIND_STRING},
    {.name = "format", .kinds = KIND_OBJECT},
};
static const struct task_type *const types[] = {
    &(const struct task_type){.name = "quick", .run = run_quick},
    &(const struct task_type){.name = "heavy", .kind = TASK_HEAVY, .queue = "default"},
    &(const struct task_type){.name = "speech",
                              .kind = TASK_HEAVY,
                              .queue = "live",
                              .stream = true,
                              .args = speech_args,
                              .arg_count = NELEMS(speech_args)},
    NULL,
};
/* ---- helpers --------------------------------------------------------------------------------------- */

static inline void turn(void)
{
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static inline struct conn *open_conn(void)
{
    struct conn *conn = fake_conn_open(&app);
    ops.on_open(conn, SPAN_NONE);
    return conn;
}

static inline void close_conn(struct conn *conn)
{
    ops.on_close(conn);
    fake_conn_gone(conn);
}

static inline void says(struct conn *conn, const char *text)
{
    ops.on_text(conn, span_of(text));
}

/* Compares what was sent since the last look, up to the length of `want`'s lines. */
static inline void hears(struct conn *conn, const char *want, const char *name)
{
    is_text(conn->log, want, "%s", name);
    conn->log[0] = '\0';
}

static inline void hears_part(struct conn *conn, const char *part, const char *name)
{
    if (!ok(strstr(conn->log, part) != NULL, "%s", name))
        diag("heard: %.400s", conn->log);
    conn->log[0] = '\0';
}

static inline char *token_for(const char *user, unsigned roles)
{
    struct auth_claims claims = {.user_id = user, .audience = "taskhub", .roles = roles};
    claims.issued_at = clock_wall_ms() / 1000;
    claims.expires_at = claims.issued_at + 600;
    return auth_sign(ring, &claims);
}

static inline void authenticate(struct conn *conn, const char *user, unsigned roles, const char *resume)
{
    char *token = token_for(user, roles), text[1200];
    snprintf(text, sizeof text,
             "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"auth\",\"params\":{\"token\":\"%s\"%s}}", token,
             resume);
    free(token);
    says(conn, text);
}

static inline struct conn *user_conn(const char *user, unsigned roles)
{
    struct conn *conn = open_conn();
    authenticate(conn, user, roles, "");
    conn->log[0] = '\0';
    return conn;
}

static inline void wait_for(const size_t *counter, size_t want)
{
    uint64_t until = clock_mono_ms() + 10000;
    while (*counter < want && clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
}

static void on_heartbeat(uv_timer_t *timer)
{
    (void)timer;
}

#define SUBMIT(id, task)                                                                                     \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"task.submit\",\"params\":{\"task\":\"" task "\"}}"
#define ERROR(id, code, message, data)                                                                       \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"error\":{\"code\":" code ",\"message\":\"" message                 \
    "\",\"data\":{" data "}}}\n"
#define CALL(id, method, params)                                                                             \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\",\"params\":" params "}"

/* Builds the hub; handles of the loop stay until fixture_end(). */
static void start_parts(void)
{
    static char empty[] = "", audience[] = "taskhub", directory[] = "/nonexistent";
    char *reason = NULL;
    options = (struct options){.data_dir = directory,
                               .database_url = empty,
                               .routes = empty,
                               .auth_audience = audience,
                               .auth_issuer = empty,
                               .args_bytes = 1000,
                               .result_bytes = 1000,
                               .user_light = 30,
                               .user_tasks = 5,
                               .light_queue = 100,
                               .light_threads = 1,
                               .light_fuse_us = 1000000,
                               .lease_ms = 15000,
                               .batch = 4,
                               .user_streams = 2,
                               .audio_window_bytes = 64,
                               .audio_max_bytes = 250,
                               .audio_idle_ms = 400,
                               .audio_resume_ms = 300};
    ring = keyring_parse(SPAN("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"), &reason);
    if (ring == NULL)
        abort();
    app = (struct app){.options = &options, .keyring = ring, .loop = &loop};
    struct manager_config config = {.options = &options, .loop = &loop, .hold = app_hold, .hold_ctx = &app};
    app.manager = manager_new(&config);
    app.owners = owners_new(&loop, (struct owner_source){source_attach, source_detach, source_replay, NULL});
    app_start(&app);
    app_redis(&app, true);
    ops = session_conn_ops();
}

static inline void fixture_begin(void)
{
    if (sodium_init() < 0 || loop_init(&loop) < 0)
        abort();
    task_types_use(types);
    uv_timer_init(&loop.uv, &heartbeat);
    uv_timer_start(&heartbeat, on_heartbeat, 1, 5);
    start_parts();
}

/* Takes it apart; nothing may be left. */
static inline void fixture_end(void)
{
    manager_free(&app.manager);
    app_stop(&app);
    owners_free(&app.owners);
    keyring_free(&ring);
    uv_close((uv_handle_t *)&heartbeat, NULL);
    loop_deinit(&loop);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(uv_loop_close(&loop.uv), 0, "no handle is left");
}
