/* A connection's face to the layers above: sending, closing, small accessors; see conn.h. Loop thread
 * only. Frames leave at the end of the turn, by ws.c. */
#include "hub/net/conn_private.h"

#include "hub/base/metrics.h"

void *conn_app(const struct conn *conn)
{
    return conn->conns->app;
}

const struct principal *conn_who(const struct conn *conn)
{
    return conn->user ? &conn->who : NULL;
}

void conn_set_user(struct conn *conn, void *user)
{
    conn->layer = user;
}

void *conn_user(const struct conn *conn)
{
    return conn->layer;
}

struct member *conn_member(const struct conn *conn)
{
    return conn ? conn->member : NULL;
}

const char *conn_address(const struct conn *conn)
{
    return peer_address(conn->peer);
}

uint64_t conn_given_seq(const struct conn *conn)
{
    return conn->outbox.begun ? conn->outbox.given : 0;
}

bool conn_rate_ok(const struct conn *conn)
{
    return conn->rate_ok;
}

/* ---- sending ---------------------------------------------------------------------------------------- */
/* Whether the connection takes anything more; then it has a buffer and will be flushed. */
static bool ready(struct conn *conn)
{
    if (conn->closing || conn->wsi == NULL)
        return false;
    if (conn->outbox.out.data == NULL)
        conn->outbox.out = conns_take_buf(conn->conns);
    conn_mark_dirty(conn);
    return true;
}

static void close_slow(struct conn *conn)
{
    metric_add(METRIC_CLOSED_SLOW, 1);
    conn->closing = true;
    conn->close_due = conns_now(conn->conns) + CONN_CLOSE_MS;
    outbox_close(&conn->outbox, 4101, "too slow", true);
    conn_mark_dirty(conn);
    conn_schedule(conn);
}

static size_t budget_of(const struct conn *conn)
{
    return (size_t)conn->conns->options->outbox_bytes;
}

static void send_text(struct conn *conn, struct span text, bool droppable)
{
    if (!ready(conn))
        return;
    if (outbox_text(&conn->outbox, text, droppable, budget_of(conn)) != OUTBOX_FULL)
        return;
    ws_flush(conn); /* a burst within one turn is no slowness: a chunk leaves early */
    if (ready(conn) && outbox_text(&conn->outbox, text, droppable, budget_of(conn)) == OUTBOX_FULL)
        close_slow(conn);
}

void conn_send(struct conn *conn, struct span text)
{
    send_text(conn, text, false);
}

void conn_send_droppable(struct conn *conn, struct span text)
{
    send_text(conn, text, true);
}

void conn_send_event(struct conn *conn, struct event *event)
{
    if (!ready(conn))
        return;
    if (outbox_event(&conn->outbox, event, budget_of(conn)) != OUTBOX_FULL)
        return;
    ws_flush(conn);
    if (ready(conn) && outbox_event(&conn->outbox, event, budget_of(conn)) == OUTBOX_FULL)
        close_slow(conn);
}

/* ---- as a member of its owner's log ---------------------------------------------------------------- */
static void send_event(void *to, struct event *event)
{
    conn_send_event(to, event);
}

static void told(void *to, uint64_t seq)
{
    struct conn *conn = to;
    outbox_told(&conn->outbox, seq);
}

static bool slow(const void *to)
{
    const struct conn *conn = to;
    return outbox_waiting(&conn->outbox) > budget_of(conn) / 4;
}

static void lost(void *to, const char *reason)
{
    conn_close(to, 1012, reason);
}

const struct member_ops conn_member_ops = {send_event, told, slow, lost};

void conn_close(struct conn *conn, unsigned code, const char *reason)
{
    if (!ready(conn))
        return;
    conn->closing = true;
    conn->close_due = conns_now(conn->conns) + CONN_CLOSE_MS;
    outbox_close(&conn->outbox, code, reason, false);
    conn_schedule(conn);
}
