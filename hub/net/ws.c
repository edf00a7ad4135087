/* The callback of libwebsockets: from its events to conns, and from outboxes to its raw writes. Loop
 * thread only. Frames are built by us; every write holds whole frames, since the library may put a pong
 * between two writes. */
#include "hub/base/log.h"
#include "hub/net/server_private.h"

static struct peer *peer_of(struct lws *wsi)
{
    return lws_get_opaque_user_data(wsi);
}

static struct conn *conn_of(struct lws *wsi)
{
    struct peer *peer = peer_of(wsi);
    return peer ? peer->conn : NULL;
}

/* ---- out -------------------------------------------------------------------------------------------- */
/* At the next end of a turn, when no callback of the library is on the stack. */
static void drop_soon(struct conn *conn)
{
    conn->closing = true;
    conn->kill = true;
    conn_mark_dirty(conn);
}

void ws_drop(struct conn *conn)
{
    if (conn->wsi)
        lws_set_timeout(conn->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

void ws_flush(struct conn *conn)
{
    struct lws *wsi = conn->wsi;
    struct outbox *outbox = &conn->outbox;
    size_t chunk = outbox_chunk((size_t)conn->conns->options->outbox_bytes);
    while (wsi && !outbox->blocked && !conn->kill) {
        struct span next = outbox_next(outbox, chunk);
        if (next.n == 0)
            break;
        char *start = outbox->out.data + outbox->at;
        if (lws_write(wsi, (unsigned char *)start, next.n, LWS_WRITE_RAW) < (int)next.n) {
            drop_soon(conn);
            return;
        }
        bool partial = lws_partial_buffered(wsi) != 0;
        outbox_sent(outbox, next.n, partial);
        if (partial)
            lws_callback_on_writable(wsi);
    }
    if (outbox->out.len == 0)
        conns_give_buf(conn->conns, &outbox->out);
}

static int on_writeable(struct lws *wsi)
{
    struct conn *conn = conn_of(wsi);
    if (conn && conn->wsi && !lws_partial_buffered(wsi)) {
        outbox_drained(&conn->outbox);
        conn_mark_dirty(conn);
    }
    return 0;
}

/* ---- in --------------------------------------------------------------------------------------------- */
/* The token of "Authorization: Bearer <token>", in `buf`. */
static struct span bearer_token(struct lws *wsi, char *buf, size_t size)
{
    struct span value = http_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, buf, size);
    if (value.n <= 7 || strncasecmp(value.p, "Bearer ", 7) != 0)
        return SPAN_NONE;
    return (struct span){value.p + 7, value.n - 7};
}

static int on_established(struct lws *wsi)
{
    struct server *server = lws_context_user(lws_get_context(wsi));
    struct peer *peer = peer_of(wsi);
    if (peer == NULL)
        return -1;
    char buf[SERVER_HEADER_BYTES];
    struct span token = bearer_token(wsi, buf, sizeof buf);
    peer->conn = conn_new(server->conns, wsi, peer);
    server->conns->ops.on_open(peer->conn, token);
    return 0;
}

static int on_receive(struct lws *wsi, void *in, size_t len)
{
    struct conn *conn = conn_of(wsi);
    if (conn == NULL || conn->wsi == NULL)
        return -1;
    conn_receive(conn, (struct conn_piece){.data = {in, len},
                                           .left = lws_remaining_packet_payload(wsi),
                                           .first = lws_is_first_fragment(wsi) != 0,
                                           .final = lws_is_final_fragment(wsi) != 0,
                                           .binary = lws_frame_is_binary(wsi) != 0});
    return 0;
}

static int on_pong(struct lws *wsi)
{
    struct conn *conn = conn_of(wsi);
    if (conn)
        conn_heard(conn);
    return 0;
}

/* The peer closes: if it answers our close frame, that was all; else the library answers. */
static int on_peer_close(struct lws *wsi)
{
    struct conn *conn = conn_of(wsi);
    if (conn == NULL || conn->closing)
        return -1;
    ws_flush(conn);
    conn->closing = true;
    conn->wsi = NULL;
    list_remove(&conn->dirty);
    return 0;
}

static int on_closed(struct lws *wsi)
{
    struct peer *peer = peer_of(wsi);
    struct conn *conn = peer ? peer->conn : NULL;
    if (conn == NULL)
        return 0;
    conn->closing = true;
    conn->wsi = NULL;
    conn->conns->ops.on_close(conn);
    peer->conn = NULL;
    conn_free(conn);
    return 0;
}

static int on_destroy(struct lws *wsi)
{
    struct peer *peer = peer_of(wsi);
    on_closed(wsi);
    lws_set_opaque_user_data(wsi, NULL);
    if (peer)
        peer_free(peer);
    return 0;
}

int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    (void)user;
    switch ((int)reason) {
    case LWS_CALLBACK_RECEIVE:
        return on_receive(wsi, in, len);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return on_writeable(wsi);
    case LWS_CALLBACK_RECEIVE_PONG:
        return on_pong(wsi);
    case LWS_CALLBACK_ESTABLISHED:
        return on_established(wsi);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        return on_peer_close(wsi);
    case LWS_CALLBACK_CLOSED:
        return on_closed(wsi);
    case LWS_CALLBACK_WSI_DESTROY:
        return on_destroy(wsi);
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return http_upgrade(lws_context_user(lws_get_context(wsi)), wsi);
    case LWS_CALLBACK_HTTP:
        return http_request(lws_context_user(lws_get_context(wsi)), wsi);
    case LWS_CALLBACK_RAW_ADOPT:
    case LWS_CALLBACK_RAW_RX:
        return -1; /* CONNECT, or bytes that are no HTTP */
    default:
        return 0;
    }
}
