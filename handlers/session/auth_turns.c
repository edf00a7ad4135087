/* Verifying tokens, at most VERIFY_US of work per loop turn; the rest wait for the next turns, so that a
 * crowd of Ed25519 tokens does not hold up everybody else. Loop thread. */
#include "handlers/session/auth_turns.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"

#define VERIFY_US 5000 /* about 100 EdDSA or 1600 HS256 tokens */

struct auth_turns {
    struct app *app;
    uv_idle_t idle; /* runs while tokens wait */
    struct list waiting;
    uint64_t spent_us; /* in this turn */
    unsigned handles;
};

/* Verifies now and goes on; frees nothing. */
static void verify_now(struct auth_turns *turns, struct verify *verify)
{
    struct app *app = turns->app;
    struct conn *conn = conn_find(app->conns, verify->conn);
    struct principal who;
    const char *reason = NULL;
    struct auth_rules rules = {app->options->auth_audience,
                               app->options->auth_issuer[0] ? app->options->auth_issuer : NULL};
    if (conn == NULL) {
        if (verify->request)
            request_drop(verify->request);
        return;
    }
    uint64_t from = clock_mono_us();
    bool valid = auth_verify(app->keyring, &rules, (struct span){verify->token, verify->size},
                             clock_wall_ms() / 1000, &who, &reason);
    turns->spent_us += clock_mono_us() - from;
    metric_add(valid ? METRIC_AUTH_OK : METRIC_AUTH_FAILED, 1);
    if (!valid)
        log_info("a token was refused", "reason", reason, "address", conn_address(conn));
    verify->then(verify, session_of(conn), valid ? &who : NULL, reason);
}

/* One that had to wait: so had what came behind it. */
static void verify_late(struct auth_turns *turns, struct verify *verify)
{
    struct conn *conn = conn_find(turns->app->conns, verify->conn);
    if (conn)
        session_of(conn)->verifying--;
    verify_now(turns, verify);
    conn = conn_find(turns->app->conns, verify->conn);
    if (conn)
        auth_replay(session_of(conn), true);
}

static void verify_waiting(struct auth_turns *turns)
{
    while (turns->spent_us < VERIFY_US && !list_empty(&turns->waiting)) {
        struct verify *verify = container_of(list_pop(&turns->waiting), struct verify, node);
        verify_late(turns, verify);
        free(verify);
    }
    if (list_empty(&turns->waiting))
        uv_idle_stop(&turns->idle);
}

static void on_idle(uv_idle_t *idle)
{
    verify_waiting(idle->data);
}

static void on_turn(void *ctx)
{
    struct auth_turns *turns = ctx;
    turns->spent_us = 0;
}

struct verify *verify_new(struct session *session, struct request *request, struct span token)
{
    struct buf text = BUF_INIT;
    if (request)
        json_string_append(&text, token);
    else
        buf_append_span(&text, token);
    struct verify *verify = xmalloc(sizeof *verify + text.len);
    list_init(&verify->node);
    verify->conn = conn_handle(session->conn);
    verify->turns = session->app->auth_turns;
    verify->request = request;
    verify->resume = (struct owners_resume){"", 0};
    verify->size = text.len;
    memcpy(verify->token, buf_span(&text).p, text.len);
    buf_free(&text);
    return verify;
}

void verify_start(struct verify *verify, verify_fn *then)
{
    struct auth_turns *turns = verify->turns;
    verify->then = then;
    if (turns->spent_us < VERIFY_US && list_empty(&turns->waiting)) {
        verify_now(turns, verify);
        free(verify);
        return;
    }
    struct conn *conn = conn_find(turns->app->conns, verify->conn);
    if (conn)
        session_of(conn)->verifying++;
    list_append(&turns->waiting, &verify->node);
    uv_idle_start(&turns->idle, on_idle);
}

void auth_turns_start(struct app *app)
{
    struct auth_turns *turns = xcalloc(1, sizeof *turns);
    turns->app = app;
    list_init(&turns->waiting);
    uv_idle_init(&app->loop->uv, &turns->idle);
    turns->idle.data = turns;
    loop_hook(app->loop, LOOP_STAGE_FREE, on_turn, turns);
    app->auth_turns = turns;
}

static void on_idle_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void auth_turns_stop(struct app *app)
{
    struct auth_turns *turns = app->auth_turns;
    for (struct list *node; (node = list_pop(&turns->waiting)) != NULL;) {
        struct verify *verify = container_of(node, struct verify, node);
        if (verify->request)
            request_drop(verify->request);
        free(verify);
    }
    loop_unhook(app->loop, LOOP_STAGE_FREE, on_turn, turns);
    uv_close((uv_handle_t *)&turns->idle, on_idle_closed);
    app->auth_turns = NULL;
}
