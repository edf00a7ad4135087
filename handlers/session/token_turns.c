/* SPDX-License-Identifier: MIT */
/* Verifies tokens, at most VERIFY_US of work per loop turn; the rest wait for later turns, so that a flood
 * of Ed25519 tokens does not hold up everybody else. Loop thread. Never changes a session's state. */
#include "handlers/session/token_turns.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/config/options.h"

#define VERIFY_US 5000 /* µs; about 100 EdDSA or 1600 HS256 tokens */

struct token_turns {
    struct app *app;
    uv_timer_t *next; /* fires in the next turn of the loop while tokens wait */
    struct list waiting;
    uint64_t spent_us; /* spent in this turn */
};

struct turn { /* a token that waits for verification */
    struct list node;
    struct session *session;
    struct request *request; /* NULL: the token came with the upgrade */
    token_verified_fn *then;
    struct buf token;
};

static void turn_free(struct turn *turn)
{
    buf_free(&turn->token);
    answerer_unref(&turn->session->answerer);
    free(turn);
}

static bool verify(const struct turn *turn, struct principal *ret, const char **ret_reason)
{
    const struct app *app = turn->session->answerer.app;
    struct auth_rules rules = {app->options->auth_audience,
                               app->options->auth_issuer[0] ? app->options->auth_issuer : NULL,
                               app->options->auth_max_ttl_s};
    struct span token = buf_span(&turn->token);
    if (turn->request == NULL && token.n > AUTH_TOKEN_MAX_IN_HEADER) {
        *ret_reason = "token is too long for a header";
        return false;
    }
    if (!auth_verify(app->keyring, &rules, token, clock_wall_ms() / 1000, ret, ret_reason))
        return false;
    if (!bearers_revoked(app->bearers, ret))
        return true;
    principal_clear(ret);
    *ret_reason = "token was revoked";
    return false;
}

static void verify_now(struct token_turns *turns, struct turn *turn)
{
    struct session *session = turn->session;
    struct principal who;
    const char *reason = NULL;
    if (session->answerer.gone) {
        if (turn->request)
            request_drop(turn->request);
        turn_free(turn);
        return;
    }
    uint64_t from = clock_mono_us();
    bool valid = verify(turn, &who, &reason);
    turns->spent_us += clock_mono_us() - from;
    metric_add(valid ? METRIC_AUTH_OK : METRIC_AUTH_FAILED, 1);
    if (!valid)
        log_info("a token was refused", "reason", reason, "address", conn_address(session->conn));
    if (valid && session->answerer.who && strcmp(session->answerer.who->user_id, who.user_id) != 0) {
        principal_clear(&who);
        valid = false;
        reason = "The token is another user's";
    }
    turn->then(session, turn->request, valid ? &who : NULL, reason);
    turn_free(turn);
}

static void on_next(uv_timer_t *timer)
{
    struct token_turns *turns = timer->data;
    while (turns->spent_us < VERIFY_US && !list_empty(&turns->waiting))
        verify_now(turns, container_of(list_pop(&turns->waiting), struct turn, node));
}

static void on_turn(void *ctx)
{
    struct token_turns *turns = ctx;
    turns->spent_us = 0;
    if (!list_empty(&turns->waiting)) /* not in on_next(): libuv 1.44 would call it again in the same turn */
        uv_timer_start(turns->next, on_next, 0, 0);
}

void token_verify(struct session *session, struct request *request, struct span token,
                  token_verified_fn *then)
{
    struct token_turns *turns = session->answerer.app->token_turns;
    struct turn *turn = xcalloc(1, sizeof *turn);
    turn->session = session;
    turn->request = request;
    turn->then = then;
    if (request)
        json_string_append(&turn->token, token);
    else
        buf_append_span(&turn->token, token);
    session->answerer.refs++;
    if (turns->spent_us < VERIFY_US && list_empty(&turns->waiting)) {
        verify_now(turns, turn);
        return;
    }
    list_append(&turns->waiting, &turn->node);
}

void token_turns_start(struct app *app)
{
    struct token_turns *turns = xcalloc(1, sizeof *turns);
    turns->app = app;
    list_init(&turns->waiting);
    turns->next = loop_timer(app->loop, turns);
    loop_hook(app->loop, LOOP_STAGE_FREE, on_turn, turns);
    app->token_turns = turns;
}

void token_turns_stop(struct app *app)
{
    struct token_turns *turns = app->token_turns;
    for (struct list *node; (node = list_pop(&turns->waiting)) != NULL;) {
        struct turn *turn = container_of(node, struct turn, node);
        if (turn->request)
            request_drop(turn->request);
        turn_free(turn);
    }
    loop_unhook(app->loop, LOOP_STAGE_FREE, on_turn, turns);
    loop_close(turns->next);
    free(turns);
    app->token_turns = NULL;
}
