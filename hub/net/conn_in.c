/* What comes in on a connection: messages are put together here, with their limits (size before
 * assembling, pieces, time, rate). Loop thread only. Knows no meaning of a message. */
#include "hub/net/conn_private.h"

#include "hub/base/metrics.h"

void conn_heard(struct conn *conn)
{
    conn->heard_at = conns_now(conn->conns);
    if (conn->pinged) {
        conn->pinged = false;
        conn_schedule(conn);
    }
}

/* Bytes a message may have. */
static size_t limit_of(const struct conn *conn, bool binary)
{
    size_t limit = (size_t)conn->conns->options->message_bytes;
    if (conn->user == NULL)
        return limit < CONN_UNAUTHENTICATED_BYTES ? limit : CONN_UNAUTHENTICATED_BYTES;
    return binary ? limit + 4 : limit; /* an audio frame has its stream's number in front */
}

/* Takes one message off the bucket; false if the connection is far beyond its rate. */
static bool take_rate(struct conn *conn)
{
    const struct options *options = conn->conns->options;
    int64_t burst = options->messages_burst * 1000;
    uint64_t now = conns_now(conn->conns);
    int64_t elapsed = (int64_t)(now - conn->rate_at);
    conn->rate_at = now;
    if (elapsed > 0) {
        int64_t missing = burst - conn->rate_tokens;
        if (elapsed > missing / options->messages_per_s)
            conn->rate_tokens = burst;
        else
            conn->rate_tokens += elapsed * options->messages_per_s;
    }
    conn->rate_tokens -= 1000;
    conn->rate_ok = conn->rate_tokens >= 0;
    return conn->rate_tokens > -burst;
}

static void deliver(struct conn *conn, struct span message, bool binary)
{
    const struct conn_ops *ops = &conn->conns->ops;
    metric_add(binary ? METRIC_MESSAGES_IN_BINARY : METRIC_MESSAGES_IN, 1);
    metric_add(METRIC_BYTES_IN, message.n);
    if (!take_rate(conn))
        conn_close(conn, 4429, "too many messages");
    else if (binary)
        ops->on_binary(conn, message);
    else
        ops->on_text(conn, message);
}

static void deliver_assembled(struct conn *conn)
{
    struct buf whole = conn->in;
    conn->in = BUF_INIT;
    conn->pieces = 0;
    conn->message_due = 0;
    conn_schedule(conn);
    deliver(conn, buf_span(&whole), conn->in_binary);
    conns_give_buf(conn->conns, &whole);
}

void conn_receive(struct conn *conn, struct conn_piece piece)
{
    conn_heard(conn);
    if (conn->closing)
        return;
    if (piece.first)
        conn->in_binary = piece.binary;
    if (conn->in.len + piece.data.n + piece.left > limit_of(conn, conn->in_binary)) {
        conns_give_buf(conn->conns, &conn->in);
        conn_close(conn, 1009, "message too large");
        return;
    }
    if (piece.final && conn->pieces == 0) {
        deliver(conn, piece.data, conn->in_binary);
        return;
    }
    if (conn->pieces == 0) {
        conn->in = conns_take_buf(conn->conns);
        conn->message_due = conn->heard_at + CONN_MESSAGE_MS;
        conn_schedule(conn);
    }
    buf_append_span(&conn->in, piece.data);
    if (++conn->pieces > CONN_PIECES_MAX)
        conn_close(conn, 1008, "too many fragments");
    else if (piece.final)
        deliver_assembled(conn);
}
