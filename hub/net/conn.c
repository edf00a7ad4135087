/* SPDX-License-Identifier: MIT */
/* Connections: their deadlines, what comes in and what goes out; see conn.h. Loop thread only. What is read
 * is unmasked and handled in place, in the buffer that all share; what cannot be handled yet is kept. Frames
 * are built by the outbox and leave at the end of the turn, in one write. Knows no meaning of a message. */
#include "hub/auth/auth.h"
#include "hub/base/clock.h"
#include "hub/base/frame.h"
#include "hub/base/load.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/base/utf8.h"
#include "hub/base/wheel.h"
#include "hub/net/outbox.h"
#include "hub/net/server_private.h"
#include "hub/owners/owners.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#define PING_MS 25000               /* nothing heard for so long: ping */
#define HANGUP_MS 40000             /* … and hang up */
#define MESSAGE_MS 30000            /* a message must be whole by then */
#define PIECES_MAX 2048             /* of one message: a flood of tiny fragments ends here */
#define UNAUTHENTICATED_BYTES 20480 /* of a message before authentication: a token and what is around it */
#define CLOSE_MS 3000               /* for the peer to answer a close frame … */
#define CLOSE_SLOW_MS 30000         /* … that stands behind more than it was ready to read */
#define SPARES 64                   /* buffers kept for the next connection that needs one … */
#define SPARE_BYTES 32768           /* … if they are not larger */

enum conn_state {
    CONN_OPEN,
    CONN_CLOSING,  /* a close frame is queued: nothing more goes out behind it or comes in */
    CONN_DROPPING, /* the TCP connection is dropped at the end of the turn */
    CONN_GONE,     /* it is being freed */
};

struct conn {
    struct conns *conns;
    struct peer *peer;
    struct list all;          /* in conns->all */
    struct list dirty;        /* in conns->dirty while something must be written */
    struct wheel_timer timer; /* of the next thing to look at, or earlier */
    enum conn_state state;
    unsigned pieces; /* of the unfinished message */
    bool in_binary;  /* its kind */
    bool waits;      /* it is whole, but there is no room for it: nothing more is read */
    bool pinged;
    bool deaf;     /* what comes means nothing any more … */
    bool answered; /* … since the peer closes */
    struct frame_reader reader;
    struct buf held; /* bytes not handled yet: a part of a head or control frame; while it waits, more */
    struct buf in;   /* the unfinished message */
    struct buf pong; /* the answer to the newest ping, until it leaves */
    struct buf rest; /* of a partial write */
    size_t rest_at;
    struct outbox outbox;
    struct load *load;
    size_t unwritten;                   /* bytes that count in it */
    uint64_t heard_at;                  /* something came */
    uint64_t message_due, expiring_due; /* mono ms, 0 = none */
    uint64_t end_due; /* the same: it has authenticated, its token ends, its peer has answered the close */
    struct member *member; /* NULL before authentication */
    struct principal who;
    void *layer; /* what conn_ops.on_open gave */
};

struct conns {
    struct loop *loop;
    const struct options *options;
    struct conn_ops ops;
    void *app;
    struct loads *loads;
    struct list all, dirty;
    struct wheel wheel;
    size_t count;
    struct buf spares[SPARES];
    size_t spare_count;
};

static uint64_t now_of(const struct conns *conns)
{
    return uv_now(&conns->loop->uv);
}

static size_t budget_of(const struct conn *conn)
{
    return (size_t)conn->conns->options->outbox_bytes;
}

/* ---- as the layer above sees it ---------------------------------------------------------------------- */
const struct principal *conn_who(const struct conn *conn)
{
    return conn->member ? &conn->who : NULL;
}

const char *conn_address(const struct conn *conn)
{
    return peer_address(conn->peer);
}

struct load *conn_load(const struct conn *conn)
{
    return conn->load;
}

const uint64_t *conn_given_seq(const struct conn *conn)
{
    return &conn->outbox.given;
}

/* ---- deadlines and states ---------------------------------------------------------------------------- */
static void earlier(uint64_t *due, uint64_t other)
{
    if (other && other < *due)
        *due = other;
}

static uint64_t next_due(const struct conn *conn)
{
    if (conn->state != CONN_OPEN)
        return conn->end_due;
    uint64_t due = conn->heard_at + (conn->pinged ? HANGUP_MS : PING_MS);
    earlier(&due, conn->message_due);
    earlier(&due, conn->expiring_due);
    earlier(&due, conn->end_due);
    return due;
}

/* Something is due earlier than it was. What is due later needs no call: who is looked at too early is looked
 * at again, which is cheaper than with every message. */
static void schedule(struct conn *conn)
{
    wheel_set(&conn->conns->wheel, &conn->timer, next_due(conn));
}

static void mark_dirty(struct conn *conn)
{
    if (list_empty(&conn->dirty) && conn->state != CONN_GONE)
        list_append(&conn->conns->dirty, &conn->dirty);
}

/* Waits for what the socket may do next. */
static void watch(struct conn *conn)
{
    peer_watch(conn->peer, (conn->waits ? 0 : UV_READABLE) | (conn->rest.len ? UV_WRITABLE : 0));
}

static void conn_become(struct conn *conn, enum conn_state to)
{
    static const unsigned moves[] = {
        [CONN_OPEN] = 1u << CONN_CLOSING | 1u << CONN_DROPPING | 1u << CONN_GONE,
        [CONN_CLOSING] = 1u << CONN_DROPPING | 1u << CONN_GONE,
        [CONN_DROPPING] = 1u << CONN_DROPPING | 1u << CONN_GONE,
        [CONN_GONE] = 0,
    };
    if (!(moves[conn->state] & 1u << to))
        abort();
    conn->state = to;
    if (to == CONN_GONE) {
        list_remove(&conn->dirty);
        wheel_stop(&conn->timer);
    } else {
        conn->end_due = now_of(conn->conns) + CLOSE_MS;
        mark_dirty(conn);
        schedule(conn);
    }
    if (conn->waits) { /* the answer to a close frame is read */
        conn->waits = false;
        load_wait_no_more(conn->load);
        watch(conn);
    }
}

/* ---- buffers with memory to reuse -------------------------------------------------------------------- */
static struct buf take_buf(struct conns *conns)
{
    return conns->spare_count ? conns->spares[--conns->spare_count] : BUF_INIT;
}

static void give_buf(struct conns *conns, struct buf *buf)
{
    if (buf->data && conns->spare_count < SPARES && buf->cap <= SPARE_BYTES) {
        buf_clear(buf);
        conns->spares[conns->spare_count++] = *buf;
        *buf = BUF_INIT;
    } else {
        buf_free(buf);
    }
}

/* ---- out --------------------------------------------------------------------------------------------- */
/* Sends the pong that waits and `frames`; what the socket does not take stands in conn->rest. */
static bool write_frames(struct conn *conn, struct span frames)
{
    struct iovec parts[2] = {{conn->pong.data, conn->pong.len}, {(void *)(uintptr_t)frames.p, frames.n}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n = sendmsg(conn->peer->fd, &message, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    for (size_t i = 0, sent = n > 0 ? (size_t)n : 0; i < 2; i++) {
        size_t part = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        if (part < parts[i].iov_len)
            buf_append(&conn->rest, (char *)parts[i].iov_base + part, parts[i].iov_len - part);
        sent -= part;
    }
    buf_free(&conn->pong);
    if (conn->rest.len)
        watch(conn);
    return true;
}

/* Its last frame has left. Whoever broke the protocol may still send: to close at once would reset the
 * connection, and lose the frame. */
static void end(struct conn *conn)
{
    if (conn->answered)
        conn_become(conn, CONN_DROPPING);
    else
        shutdown(conn->peer->fd, SHUT_WR);
}

/* Writes what is ready. */
static void flush(struct conn *conn)
{
    struct outbox *outbox = &conn->outbox;
    size_t chunk = outbox_chunk(budget_of(conn));
    while (!outbox->blocked && conn->state != CONN_DROPPING) {
        struct span next = outbox_next(outbox, chunk);
        if (next.n + conn->pong.len == 0)
            break;
        if (!write_frames(conn, next)) {
            conn_become(conn, CONN_DROPPING);
            return;
        }
        outbox_sent(outbox, next.n, conn->rest.len > 0);
    }
    if (conn->deaf && conn->state == CONN_CLOSING && !outbox->blocked)
        end(conn);
    if (outbox->out.len == 0)
        give_buf(conn->conns, &outbox->out);
    size_t unwritten = outbox_waiting(outbox);
    if (unwritten != conn->unwritten)
        load_unwritten(conn->load, conn->unwritten, unwritten);
    conn->unwritten = unwritten;
}

/* Whether the connection takes anything more; then it has a buffer and will be flushed. */
static bool ready(struct conn *conn)
{
    if (conn->state != CONN_OPEN)
        return false;
    if (conn->outbox.out.data == NULL)
        conn->outbox.out = take_buf(conn->conns);
    mark_dirty(conn);
    return true;
}

static void close_slow(struct conn *conn)
{
    metric_add(METRIC_CLOSED_SLOW, 1);
    outbox_close(&conn->outbox, 4101, "too slow", true);
    conn_become(conn, CONN_CLOSING);
    conn->end_due = now_of(conn->conns) + CLOSE_SLOW_MS;
}

static void send_message(struct conn *conn, const struct outbox_message *message)
{
    if (!ready(conn) || outbox_put(&conn->outbox, message, budget_of(conn)) != OUTBOX_FULL)
        return;
    flush(conn); /* a burst within one turn is no slowness: a chunk leaves early */
    if (ready(conn) && outbox_put(&conn->outbox, message, budget_of(conn)) == OUTBOX_FULL)
        close_slow(conn);
}

void conn_send(void *to, struct span text, bool droppable)
{
    send_message(to, &(struct outbox_message){.text = text, .droppable = droppable});
}

void conn_send_event(void *to, struct event *event)
{
    send_message(to, &(struct outbox_message){.event = event});
}

void conn_close(struct conn *conn, unsigned code, const char *reason)
{
    if (!ready(conn))
        return;
    outbox_close(&conn->outbox, code, reason, false);
    conn_become(conn, CONN_CLOSING);
}

/* ---- as a member of its owner's log ------------------------------------------------------------------ */
static void skip(void *to, uint64_t seq)
{
    struct conn *conn = to;
    outbox_skip(&conn->outbox, seq);
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

static const struct member_ops member_ops = {conn_send_event, skip, slow, lost};

/* ---- who it is --------------------------------------------------------------------------------------- */
static void set_deadlines(struct conn *conn)
{
    int64_t now_s = clock_wall_ms() / 1000;
    const struct principal *who = &conn->who;
    int64_t from = who->issued_at && who->issued_at < now_s ? who->issued_at : now_s;
    int64_t life = who->expires_at > from ? who->expires_at - from : 0;
    int64_t expiring_in = from + life - life / 5 - now_s;
    int64_t expiry_in = who->expires_at + AUTH_SKEW_S - now_s;
    uint64_t now = now_of(conn->conns);
    conn->expiring_due = now + (expiring_in > 0 ? (uint64_t)expiring_in * 1000 : 0);
    conn->end_due = now + (expiry_in > 0 ? (uint64_t)expiry_in * 1000 : 0);
    schedule(conn);
}

struct member *conn_set_who(struct conn *conn, struct principal *who)
{
    if (!load_set_user(conn->load, span_of(who->user_id))) {
        metric_add(METRIC_REFUSED_USER, 1);
        return NULL;
    }
    conn->member = member_new(&member_ops, conn);
    peer_authenticated(conn->peer);
    conn_refresh_who(conn, who);
    return conn->member;
}

void conn_refresh_who(struct conn *conn, struct principal *who)
{
    principal_clear(&conn->who);
    conn->who = *who;
    memset(who, 0, sizeof *who);
    set_deadlines(conn);
}

/* ---- messages ---------------------------------------------------------------------------------------- */
/* Something came of the peer. */
static void heard(struct conn *conn)
{
    conn->heard_at = now_of(conn->conns);
    conn->pinged = false;
}

/* Bytes a message may have. */
static size_t limit_of(const struct conn *conn, bool binary)
{
    size_t limit = (size_t)conn->conns->options->message_bytes;
    if (conn_who(conn) == NULL)
        return limit < UNAUTHENTICATED_BYTES ? limit : UNAUTHENTICATED_BYTES;
    return binary ? limit + 4 : limit; /* an audio frame has its stream's number in front */
}

/* What comes after means nothing. */
static void fail(struct conn *conn, unsigned code, const char *reason)
{
    conn_close(conn, code, reason);
    conn->deaf = true;
}

static void deliver(struct conn *conn, struct span message, bool binary)
{
    const struct conn_ops *ops = &conn->conns->ops;
    if (!binary && !utf8_valid(message)) {
        fail(conn, 1007, "text that is not UTF-8");
        return;
    }
    metric_add(binary ? METRIC_MESSAGES_IN_BINARY : METRIC_MESSAGES_IN, 1);
    metric_add(METRIC_BYTES_IN, message.n);
    enum load_rate rate = load_count(conn->load, 1);
    if (rate == LOAD_FLOOD)
        conn_close(conn, 4429, "too many messages");
    else
        (binary ? ops->on_binary : ops->on_text)(conn->layer, message, rate == LOAD_TOO_FAST);
}

static void deliver_assembled(struct conn *conn)
{
    struct buf whole = conn->in;
    conn->in = BUF_INIT;
    conn->pieces = 0;
    conn->message_due = 0;
    deliver(conn, buf_span(&whole), conn->in_binary);
    give_buf(conn->conns, &whole);
}

static void wait_for_room(struct conn *conn)
{
    conn->waits = true;
    conn->message_due = 0;
    watch(conn);
    load_wait(conn->load);
}

static void receive(struct conn *conn, const struct frame *piece)
{
    heard(conn);
    if (conn->state != CONN_OPEN)
        return;
    conn->in_binary = piece->binary;
    if (conn->in.len + piece->data.n + piece->left > limit_of(conn, piece->binary)) {
        give_buf(conn->conns, &conn->in);
        conn_close(conn, 1009, "message too large");
        return;
    }
    bool room = load_has_room(conn->load);
    if (piece->final && conn->pieces == 0 && room) {
        conn->message_due = 0;
        deliver(conn, piece->data, piece->binary);
        return;
    }
    if (conn->message_due == 0) {
        conn->message_due = conn->heard_at + MESSAGE_MS;
        schedule(conn);
    }
    if (piece->data.n == 0 && piece->left) /* a head alone */
        return;
    if (conn->pieces == 0)
        conn->in = take_buf(conn->conns);
    buf_append_span(&conn->in, piece->data);
    if (++conn->pieces > PIECES_MAX)
        conn_close(conn, 1008, "too many fragments");
    else if (piece->final && room)
        deliver_assembled(conn);
    else if (piece->final)
        wait_for_room(conn);
}

/* ---- frames -------------------------------------------------------------------------------------------- */
/* Of several pings the newest is answered. */
static void on_ping(struct conn *conn, const struct frame *ping)
{
    char head[FRAME_HEAD_MAX];
    heard(conn);
    if (conn->state != CONN_OPEN)
        return;
    buf_clear(&conn->pong);
    buf_append(&conn->pong, head, frame_head(head, FRAME_PONG, ping->data.n));
    buf_append_span(&conn->pong, ping->data);
    mark_dirty(conn);
}

static void on_pong(struct conn *conn, const struct frame *pong)
{
    (void)pong;
    heard(conn);
}

/* The peer closes: if it answers our close frame, that was all; else it is answered. */
static void on_peer_close(struct conn *conn, const struct frame *frame)
{
    if (conn->state == CONN_OPEN) {
        conn_close(conn, frame->code, "");
        conn->deaf = conn->answered = true;
    } else {
        conn_become(conn, CONN_DROPPING);
    }
}

static void on_wrong(struct conn *conn, const struct frame *frame)
{
    fail(conn, frame->code, frame->reason);
}

/* Handles what was read; keeps what it cannot handle yet. */
static void take(struct conn *conn, char *data, size_t n)
{
    static void (*const handlers[FRAME_WHATS])(struct conn *, const struct frame *) = {
        [FRAME_PIECE] = receive,        [FRAME_PINGED] = on_ping, [FRAME_PONGED] = on_pong,
        [FRAME_CLOSED] = on_peer_close, [FRAME_WRONG] = on_wrong,
    };
    struct frame frame;
    size_t at = 0;
    while (!conn->waits && !conn->deaf && conn->state != CONN_DROPPING) {
        at += frame_read(&conn->reader, data + at, n - at, &frame);
        if (frame.what == FRAME_MORE)
            break;
        handlers[frame.what](conn, &frame);
    }
    if (at == n || conn->deaf || conn->state == CONN_DROPPING)
        return;
    conn->held = take_buf(conn->conns);
    buf_append(&conn->held, data + at, n - at);
}

/* Handles what was kept. */
static void take_held(struct conn *conn)
{
    if (conn->held.len == 0)
        return;
    struct buf held = conn->held;
    conn->held = BUF_INIT;
    take(conn, held.data, held.len);
    give_buf(conn->conns, &held);
}

static void on_room(void *ctx)
{
    struct conn *conn = ctx;
    heard(conn);
    conn->waits = false;
    watch(conn);
    deliver_assembled(conn);
    take_held(conn);
}

static void read_more(struct conn *conn)
{
    char *input = conn->peer->listener->input;
    size_t kept = conn->held.len;
    if (kept)
        memcpy(input, conn->held.data, kept);
    ssize_t n = recv(conn->peer->fd, input + kept, SERVER_READ_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_become(conn, CONN_DROPPING);
        return;
    }
    give_buf(conn->conns, &conn->held);
    take(conn, input, kept + (size_t)n);
}

/* Goes on with a partial write. */
static void write_rest(struct conn *conn)
{
    struct buf *rest = &conn->rest;
    ssize_t n = send(conn->peer->fd, rest->data + conn->rest_at, rest->len - conn->rest_at, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        conn_become(conn, CONN_DROPPING);
    conn->rest_at += n > 0 ? (size_t)n : 0;
    if (conn->rest_at < rest->len)
        return;
    buf_free(rest);
    conn->rest_at = 0;
    watch(conn);
    outbox_drained(&conn->outbox);
    mark_dirty(conn);
}

/* ---- the table --------------------------------------------------------------------------------------- */
static void flush_dirty(void *ctx)
{
    struct conns *conns = ctx;
    struct list now;
    list_init(&now);
    list_splice(&now, &conns->dirty);
    for (struct list *node; (node = list_pop(&now));) {
        struct conn *conn = container_of(node, struct conn, dirty);
        if (conn->state == CONN_CLOSING) /* the peer's answer may have come already */
            take_held(conn);
        if (conn->state != CONN_DROPPING)
            flush(conn);
        if (conn->state == CONN_DROPPING)
            peer_drop(conn->peer);
    }
}

static struct loads *new_loads(struct loop *loop, const struct options *options)
{
    const struct load_limits limits = {
        .user_connections = (size_t)options->user_connections,
        .requests = (size_t)options->connection_requests,
        .user_requests = (size_t)options->requests,
        .user_bytes = (size_t)options->answers_bytes,
        .rate = {options->messages_per_s, options->messages_burst},
        .user_rate = {options->user_messages_per_s, options->user_messages_per_s},
    };
    return loads_new(loop, &limits);
}

struct conns *conns_new(struct loop *loop, const struct options *options, struct conn_ops ops, void *app)
{
    struct conns *conns = xcalloc(1, sizeof *conns);
    conns->loop = loop;
    conns->options = options;
    conns->ops = ops;
    conns->app = app;
    conns->loads = new_loads(loop, options);
    list_init(&conns->all);
    list_init(&conns->dirty);
    wheel_init(&conns->wheel, now_of(conns));
    loop_hook(loop, LOOP_STAGE_CONN, flush_dirty, conns);
    return conns;
}

void conns_free(struct conns **conns)
{
    struct conns *dying = *conns;
    if (dying == NULL)
        return;
    *conns = NULL;
    loop_unhook(dying->loop, LOOP_STAGE_CONN, flush_dirty, dying);
    for (size_t i = 0; i < dying->spare_count; i++)
        buf_free(&dying->spares[i]);
    loads_free(&dying->loads);
    free(dying);
}

size_t conns_count(const struct conns *conns)
{
    return conns->count;
}

static struct conn *conn_new(struct conns *conns, struct peer *peer)
{
    struct conn *conn = xcalloc(1, sizeof *conn);
    conn->conns = conns;
    conn->peer = peer;
    wheel_timer_init(&conn->timer);
    list_append(&conns->all, &conn->all);
    list_init(&conn->dirty);
    uint64_t now = now_of(conns);
    conn->heard_at = now;
    conn->load = load_new(conns->loads, on_room, conn);
    conn->end_due = now + (uint64_t)conns->options->auth_deadline_ms;
    metric_set(METRIC_CONNECTIONS, ++conns->count);
    schedule(conn);
    return conn;
}

static void conn_free(struct conn *conn)
{
    struct conns *conns = conn->conns;
    list_remove(&conn->all);
    metric_set(METRIC_CONNECTIONS, --conns->count);
    member_free(&conn->member);
    principal_clear(&conn->who);
    outbox_free(&conn->outbox);
    load_unwritten(conn->load, conn->unwritten, 0);
    load_leave(conn->load);
    give_buf(conns, &conn->in);
    give_buf(conns, &conn->held);
    buf_free(&conn->pong);
    buf_free(&conn->rest);
    free(conn);
}

static void tell_expiring(struct conn *conn)
{
    char at[CLOCK_TEXT_SIZE], text[160];
    clock_format(conn->who.expires_at * 1000, at);
    int n =
        snprintf(text, sizeof text,
                 "{\"jsonrpc\":\"2.0\",\"method\":\"auth.expiring\",\"params\":{\"expires_at\":\"%s\"}}", at);
    conn->expiring_due = 0;
    conn_send(conn, (struct span){text, (size_t)n}, false);
}

static void look_at(struct conn *conn)
{
    uint64_t now = now_of(conn->conns);
    if (conn->waits && !conn->outbox.blocked) /* it may have said something */
        heard(conn);
    if (now < next_due(conn)) {
        schedule(conn);
        return;
    }
    if (conn->state != CONN_OPEN || now >= conn->heard_at + HANGUP_MS) {
        conn_become(conn, CONN_DROPPING);
    } else if (now >= conn->end_due) {
        if (conn_who(conn))
            conn_close(conn, 4401, "token expired");
        else
            conn_close(conn, 4408, "no auth in time");
    } else if (conn->message_due && now >= conn->message_due) {
        conn_close(conn, 1008, "message unfinished");
    } else if (conn->expiring_due && now >= conn->expiring_due) {
        tell_expiring(conn);
    } else if (!conn->pinged && now >= conn->heard_at + PING_MS) {
        conn->pinged = true;
        outbox_ping(&conn->outbox);
        mark_dirty(conn);
    }
    schedule(conn);
}

void conns_tick(struct conns *conns)
{
    for (struct wheel_timer *timer; (timer = wheel_next(&conns->wheel, now_of(conns))) != NULL;)
        look_at(container_of(timer, struct conn, timer));
}

void conns_send(struct conns *conns, struct span text)
{
    list_for_each (node, &conns->all)
        conn_send(container_of(node, struct conn, all), text, false);
}

/* Nobody waits for slow readers any more. */
static void hurry(struct conn *conn)
{
    if (conn->state != CONN_CLOSING)
        return;
    earlier(&conn->end_due, now_of(conn->conns) + CLOSE_MS);
    schedule(conn);
}

void conns_close(struct conns *conns, size_t count, unsigned code, const char *reason)
{
    list_for_each (node, &conns->all) {
        struct conn *conn = container_of(node, struct conn, all);
        if (conn->state == CONN_OPEN && count-- == 0)
            return;
        conn_close(conn, code, reason);
        hurry(conn);
    }
}

/* ---- as a peer --------------------------------------------------------------------------------------- */
static void on_event(struct peer *peer, int events)
{
    struct conn *conn = peer->conn;
    if (events & UV_DISCONNECT)
        conn_become(conn, CONN_DROPPING);
    if (events & UV_WRITABLE && conn->state != CONN_DROPPING)
        write_rest(conn);
    if (events & UV_READABLE && conn->state != CONN_DROPPING)
        read_more(conn);
}

static void on_gone(struct peer *peer)
{
    struct conn *conn = peer->conn;
    conn_become(conn, CONN_GONE);
    conn->conns->ops.on_close(conn->layer);
    peer->conn = NULL;
    conn_free(conn);
}

static const struct peer_role role = {on_event, on_gone};

void conn_open(struct conns *conns, struct peer *peer, struct span token, struct span rest)
{
    struct conn *conn = conn_new(conns, peer);
    peer->conn = conn;
    peer->role = &role;
    conn->layer = conns->ops.on_open(conns->app, conn, token);
    take(conn, (char *)(uintptr_t)rest.p, rest.n);
}
