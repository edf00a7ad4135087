/* Messages that come before their connection is ready for them: behind a token that waits for its turn, or
 * before the connection hears its owner's events, so that no answer overtakes that of auth. They are kept, in
 * order, and handled then. Loop thread. */
#include "handlers/rpc/rpc.h"
#include "handlers/session/auth_join.h"

#define HELD_MAX 64
#define HELD_BYTES (256u << 10)

static void keep(struct session *session, struct span message)
{
    if (session->held_count == HELD_MAX || session->held.len + message.n > HELD_BYTES) {
        rpc_refuse_message(session->conn, message,
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
    if (known && !session->joining && !session->asked)
        auth_join_implied(session);
    if (session->entering == NULL && (known || session->verifying == 0))
        return false;
    keep(session, message);
    return true;
}

void auth_replay(struct session *session, bool imply)
{
    struct app *app = session->app;
    struct conn_handle handle = conn_handle(session->conn);
    struct buf held = session->held;
    size_t at = 0, size;
    if (session->replaying || session->entering || held.len == 0)
        return;
    if (imply && conn_who(session->conn) && !session->joining && !session->asked) {
        auth_join_implied(session); /* its outcome, perhaps at once, goes on here */
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
