/* Messages that come before their connection is ready for them: behind a token that waits for its turn, or on
 * a connection whose token came with the upgrade and that does not hear its owner's events yet. They are
 * kept, in order, and handled then. Loop thread. */
#include "handlers/auth_join.h"
#include "handlers/rpc.h"

#define HELD_MAX 64
#define HELD_BYTES (256u << 10)

static void keep(struct session *session, struct span message)
{
    if (session->held_count == HELD_MAX || session->held.len + message.n > HELD_BYTES) {
        rpc_refuse(session->conn, NULL, SPAN("null"),
                   &(struct request_error){.code = RPC_BUSY,
                                           .retry_ms = 1000,
                                           .message = "Too many messages before the answer to auth"});
        return;
    }
    buf_append(&session->held, (const char *)&message.n, sizeof message.n);
    buf_append_span(&session->held, message);
    session->held_count++;
}

bool auth_keeps(struct session *session, struct span message)
{
    bool known = conn_who(session->conn) != NULL;
    if (session->replaying)
        return false;
    if (known && !session->joining)
        auth_join_implied(session);
    if (known ? !session->implied : session->verifying == 0)
        return false;
    keep(session, message);
    return true;
}

void auth_replay(struct session *session)
{
    struct app *app = session->app;
    struct conn_handle handle = conn_handle(session->conn);
    struct buf held = session->held;
    size_t at = 0, size;
    if (session->replaying || session->implied || held.len == 0)
        return;
    if (conn_who(session->conn) && !session->joining) { /* the token of the upgrade, and no auth */
        auth_join_implied(session);
        if (session->implied)
            return;
    }
    session->held = BUF_INIT;
    session->held_count = 0;
    session->replaying = true;
    while (at < held.len && conn_find(app->conns, handle)) {
        memcpy(&size, held.data + at, sizeof size);
        at += sizeof size;
        rpc_message(session->conn, (struct span){held.data + at, size});
        at += size;
    }
    if (conn_find(app->conns, handle))
        session->replaying = false;
    buf_free(&held);
}
