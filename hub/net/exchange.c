/* SPDX-License-Identifier: MIT */
/* HTTP on a peer: reads requests one after another, sends the answers (hub/net/http.c makes them), and hands
 * an upgrade on. Loop thread only. While an answer waits for the socket nothing is read. */
#include "hub/net/server_private.h"

#include <errno.h>
#include <sys/socket.h>

#define REQUEST_MS                                                                                           \
    5000 /* for the head of a request, from the start or the last answer, or a piece of a body */
#define ANSWER_MS 60000 /* for a slow reader of a large file */
#define ANSWERS_MAX 4   /* to one peer in a turn: who sends hundreds of requests at once delays nobody */

struct exchange {
    struct buf in;   /* what was read and not used: a part of a head, or what came behind a slow answer */
    struct buf out;  /* the answer that is being sent, from … */
    size_t out_at;   /* … here */
    size_t body;     /* bytes of a request's body that are still to come */
    size_t searched; /* bytes of `in` that hold no end of a head */
    bool ending;     /* with the body the connection ends */
};

static void gone(struct peer *peer)
{
    buf_free(&peer->exchange->in);
    buf_free(&peer->exchange->out);
    free(peer->exchange);
    peer->exchange = NULL;
}

/* Sends what waits. False: the peer has been dropped. */
static bool send_answer(struct peer *peer)
{
    struct exchange *exchange = peer->exchange;
    struct buf *out = &exchange->out;
    while (exchange->out_at < out->len) {
        ssize_t n = send(peer->fd, out->data + exchange->out_at, out->len - exchange->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            peer_watch(peer, UV_WRITABLE);
            peer_drop_in(peer, ANSWER_MS);
            return true;
        }
        if (n < 0 && errno != EINTR) {
            peer_drop(peer);
            return false;
        }
        exchange->out_at += n > 0 ? (size_t)n : 0;
    }
    buf_free(out);
    exchange->out_at = 0;
    if (exchange->ending && exchange->body == 0) {
        peer_drop(peer);
        return false;
    }
    if (exchange->ending)
        shutdown(peer->fd, SHUT_WR); /* who listens already need not wait for the rest */
    peer_drop_in(peer, REQUEST_MS);
    return true;
}

/* What a head asks for. */
static bool answer_head(const struct http_request *request, struct http_reply *reply)
{
    char value[64];
    if (head_value(request->head, "upgrade", value, sizeof value).p)
        return http_upgrade(request, reply);
    http_answer(request, reply);
    return false;
}

static enum http_place place_of(struct peer *peer, const struct head *head)
{
    char value[64];
    if (head_value(head, "upgrade", value, sizeof value).p)
        return peer_upgrades(peer);
    return peer_asks(peer, http_is_probe(head));
}

/* The answer has left: a new socket takes so little. False: the peer has been dropped. */
static bool become_conn(struct peer *peer, const struct head *head, struct buf *answer, struct span rest)
{
    char value[64];
    struct conns *conns = peer->listener->server->conns;
    struct span token = guard_bearer(head_value(head, "authorization", value, sizeof value));
    ssize_t n = send(peer->fd, answer->data, answer->len, MSG_NOSIGNAL);
    bool sent = n == (ssize_t)answer->len;
    buf_free(answer);
    if (!sent) {
        peer_drop(peer);
        return false;
    }
    gone(peer);
    peer_drop_in(peer, 0);
    conn_open(conns, peer, token, rest);
    return false;
}

/* Acts on a head, behind which `rest` was read. False: it is no HTTP any more, or dropped. */
static bool take_head(struct peer *peer, struct span text, struct span rest)
{
    struct head head;
    struct http_reply reply = {.close = false};
    struct exchange *exchange = peer->exchange;
    if (head_parse(text, &head) && head_names_host(&head)) {
        struct http_request request = {peer->listener->server, peer, &head, place_of(peer, &head)};
        if (answer_head(&request, &reply))
            return become_conn(peer, &head, &reply.out, rest);
    } else {
        http_no_request(false, &reply);
    }
    exchange->out = reply.out;
    exchange->body = reply.body;
    exchange->ending = reply.close;
    return send_answer(peer);
}

static bool refuse_long(struct peer *peer)
{
    struct http_reply reply = {.close = false};
    http_no_request(true, &reply);
    peer->exchange->out = reply.out;
    peer->exchange->body = reply.body;
    peer->exchange->ending = true;
    return send_answer(peer);
}

/* Skips what belongs to a body. */
static struct span skip_body(struct peer *peer, struct span data)
{
    struct exchange *exchange = peer->exchange;
    size_t n = exchange->body < data.n ? exchange->body : data.n;
    if (n && exchange->out.len == 0)
        peer_drop_in(peer, REQUEST_MS);
    exchange->body -= n;
    return span_from(data, n);
}

/* Uses what was read, of which the first `searched` bytes hold no end of a head; keeps the rest. */
static void take(struct peer *peer, struct span data, size_t searched)
{
    struct exchange *exchange = peer->exchange;
    bool turn_over = false;
    for (unsigned answers = 0;; answers++) {
        data = skip_body(peer, data);
        if (exchange->out.len || exchange->body)
            break;
        if (exchange->ending) {
            peer_drop(peer);
            return;
        }
        size_t n = head_length(data, searched);
        turn_over = n && answers == ANSWERS_MAX;
        if (turn_over || (n == 0 && data.n <= SERVER_HEADER_BYTES))
            break;
        searched = 0;
        if (n == 0 || n > SERVER_HEADER_BYTES) {
            if (!refuse_long(peer))
                return;
        } else {
            struct span text = {data.p, n};
            data = span_from(data, n);
            if (!take_head(peer, text, data))
                return;
        }
    }
    exchange->searched = exchange->out.len || exchange->body || turn_over ? 0 : data.n;
    if (exchange->out.len == 0)
        peer_watch(peer, turn_over ? UV_WRITABLE : UV_READABLE);
    buf_append_span(&exchange->in, data);
}

/* Uses what was kept and, if there is anything, what can be read. */
static void go_on(struct peer *peer, bool readable)
{
    struct exchange *exchange = peer->exchange;
    char *input = peer->listener->input;
    size_t kept = exchange->in.len, searched = exchange->searched;
    ssize_t n = 0;
    if (kept)
        memcpy(input, exchange->in.data, kept);
    if (readable) {
        n = recv(peer->fd, input + kept, SERVER_READ_BYTES, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            peer_drop(peer);
            return;
        }
    }
    buf_free(&exchange->in);
    take(peer, (struct span){input, kept + (size_t)n}, searched);
}

static void on_event(struct peer *peer, int events)
{
    if (events & UV_DISCONNECT) {
        peer_drop(peer);
    } else if (peer->exchange->out.len) {
        if (send_answer(peer) && peer->exchange->out.len == 0)
            go_on(peer, false);
    } else {
        go_on(peer, events & UV_READABLE);
    }
}

static const struct peer_role role = {on_event, gone};

bool exchange_answers(const struct peer *peer)
{
    return peer->exchange && peer->exchange->out.len;
}

void exchange_start(struct peer *peer)
{
    peer->exchange = xcalloc(1, sizeof *peer->exchange);
    peer->role = &role;
    peer_drop_in(peer, REQUEST_MS);
    peer_watch(peer, UV_READABLE);
}
