/* SPDX-License-Identifier: MIT */
/* Sessions: their state, opening, messages, closing. Messages that come before the connection is ready are
 * kept in order, so that no answer overtakes that of auth. Loop thread. Never verifies a token. */
#include "handlers/session/session.h"

#include "handlers/rpc/rpc.h"

#define KEPT_MAX 64
#define KEPT_BYTES (256u << 10)

/* ---- what waits ---- */

static bool must_wait(enum session_state state)
{
    return state == SESSION_VERIFYING || state == SESSION_JOINING;
}

static void keep_message(struct session *session, struct span message)
{
    if (session->kept_count == KEPT_MAX || session->kept.len + message.n > KEPT_BYTES) {
        rpc_refuse(&session->answerer, message,
                   &(struct request_error){.code = RPC_BUSY,
                                           .retry_ms = 1000,
                                           .message = "Too many messages before the answer to auth"});
        return;
    }
    buf_append(&session->kept, (const char *)&message.n, sizeof message.n);
    buf_append_span(&session->kept, message);
    session->kept_count++;
}

/* Lets the first request join a connection authenticated by its upgrade. */
static void join_first(struct session *session, struct span message)
{
    if (session->state == SESSION_KNOWN && !rpc_calls(message, "auth"))
        auth_join_implied(session);
}

/* Handles kept messages until one must wait again. `join`: the first of them joins. */
static void replay(struct session *session, bool join)
{
    struct buf kept = session->kept;
    size_t at = 0, size;
    session->kept = BUF_INIT;
    session->answerer.refs++;
    while (at < kept.len) {
        memcpy(&size, kept.data + at, sizeof size);
        struct span message = {kept.data + at + sizeof size, size};
        if (join)
            join_first(session, message);
        if (must_wait(session->state) || session->state == SESSION_CLOSING)
            break;
        session->kept_count--;
        rpc_handle(&session->answerer, message);
        at += sizeof size + size;
    }
    if (at < kept.len)
        buf_append(&session->kept, kept.data + at, kept.len - at);
    buf_free(&kept);
    answerer_unref(&session->answerer);
}

void session_become(struct session *session, enum session_state state)
{
    static const unsigned moves[] = {
        [SESSION_NEW] = 1 << SESSION_VERIFYING | 1 << SESSION_CLOSING,
        [SESSION_VERIFYING] = 1 << SESSION_NEW | 1 << SESSION_UNJOINED | 1 << SESSION_KNOWN |
                              1 << SESSION_JOINING | 1 << SESSION_CLOSING,
        [SESSION_KNOWN] = 1 << SESSION_VERIFYING | 1 << SESSION_JOINING | 1 << SESSION_CLOSING,
        [SESSION_JOINING] =
            1 << SESSION_LIVE | 1 << SESSION_KNOWN | 1 << SESSION_UNJOINED | 1 << SESSION_CLOSING,
        [SESSION_LIVE] = 1 << SESSION_CLOSING,
        [SESSION_UNJOINED] = 1 << SESSION_VERIFYING | 1 << SESSION_JOINING | 1 << SESSION_CLOSING,
        [SESSION_CLOSING] = 1 << SESSION_CLOSING,
    };
    enum session_state before = session->state;
    if (!(moves[before] & 1u << state))
        abort();
    session->state = state;
    session->answerer.entering = state == SESSION_KNOWN || must_wait(state);
    if (session->kept.len && must_wait(before) && !must_wait(state))
        replay(session, before == SESSION_VERIFYING);
}

/* ---- the connection ---- */

static struct session *session_of(struct answerer *answerer)
{
    return container_of(answerer, struct session, answerer);
}

static void free_session(struct answerer *answerer)
{
    struct session *session = session_of(answerer);
    buf_free(&session->kept);
    load_unref(answerer->load);
    free(session);
}

static bool admit(struct answerer *from, struct span message)
{
    struct session *session = session_of(from);
    join_first(session, message);
    if (!must_wait(session->state))
        return true;
    keep_message(session, message);
    return false;
}

static const struct answerer_ops socket_ops = {
    .answer = rpc_answer, .send = conn_send, .admit = admit, .free = free_session};

struct session *session_asking(const struct request *request)
{
    struct answerer *to = request->to;
    return to && to->ops == &socket_ops && !to->gone ? session_of(to) : NULL;
}

static void *on_open(void *app, struct conn *conn, struct span token)
{
    struct session *session = xcalloc(1, sizeof *session);
    session->answerer = (struct answerer){.ops = &socket_ops,
                                          .app = app,
                                          .client = &session->client,
                                          .sink = conn,
                                          .load = load_ref(conn_load(conn)),
                                          .given = conn_given_seq(conn),
                                          .refs = 1};
    client_init(&session->client, &session->answerer);
    session->conn = conn;
    id_random(session->id, sizeof session->id);
    if (token.p)
        auth_open(session, token);
    return &session->answerer;
}

static void on_binary(void *answerer, struct span message, bool too_fast)
{
    struct session *session = session_of(answerer);
    if (session->answerer.who || session->state == SESSION_VERIFYING)
        session->answerer.app->client_hooks.binary(&session->client, message, too_fast);
    else
        conn_close(session->conn, CLOSE_AUTH, "not authenticated");
}

static void on_close(void *answerer)
{
    struct session *session = session_of(answerer);
    bearers_leave(session->answerer.app->bearers, &session->bearer);
    owners_leave(session->answerer.member);
    session->answerer.app->client_hooks.leave(&session->client);
    auth_leave(session);
    session_become(session, SESSION_CLOSING);
    session->conn = NULL;
    answerer_gone(&session->answerer);
}

struct conn_ops session_conn_ops(void)
{
    return (struct conn_ops){on_open, rpc_message, on_binary, on_close};
}
