/* SPDX-License-Identifier: MIT */
/* WebSocket client connections for measuring; see wsclient.h. */
#include "tests/bench/wsclient.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 16384

struct ws_client {
    int epoll;
    struct sockaddr_in address;
    unsigned port, count;
    const struct ws_ops *ops;
    struct ws_conn *conns;
};

void die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

struct ws_client *ws_client_new(const char *host, unsigned port, unsigned count, const struct ws_ops *ops)
{
    struct ws_client *client = xcalloc(1, sizeof *client);
    client->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (client->epoll < 0)
        die("epoll: %s", strerror(errno));
    client->address.sin_family = AF_INET;
    client->address.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &client->address.sin_addr) != 1)
        die("--host takes an IPv4 address");
    client->port = port;
    client->count = count;
    client->ops = ops;
    client->conns = xcalloc(count ? count : 1, sizeof *client->conns);
    for (unsigned i = 0; i < count; i++) {
        client->conns[i].client = client;
        client->conns[i].index = i;
        client->conns[i].fd = -1;
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return client;
}

static void release(struct ws_conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    conn->state = WS_DEAD;
    buf_free(&conn->rx);
    buf_free(&conn->tx);
    buf_free(&conn->fragments);
}

void ws_client_free(struct ws_client **client)
{
    if (*client == NULL)
        return;
    for (unsigned i = 0; i < (*client)->count; i++)
        release(&(*client)->conns[i]);
    close((*client)->epoll);
    free((*client)->conns);
    free(*client);
    *client = NULL;
}

struct ws_conn *ws_conn_at(struct ws_client *client, unsigned index)
{
    return &client->conns[index];
}

static void dead(struct ws_conn *conn, const char *why)
{
    if (conn->state == WS_DEAD)
        return;
    release(conn);
    conn->client->ops->on_dead(conn, why);
}

static void want_out(struct ws_conn *conn, bool on)
{
    if (conn->wants_out == on)
        return;
    struct epoll_event event = {.events = EPOLLIN | (on ? EPOLLOUT : 0u), .data.u32 = conn->index};
    epoll_ctl(conn->client->epoll, EPOLL_CTL_MOD, conn->fd, &event);
    conn->wants_out = on;
}

void ws_flush(struct ws_conn *conn)
{
    while (conn->state != WS_DEAD && conn->tx_at < conn->tx.len) {
        ssize_t n = send(conn->fd, conn->tx.data + conn->tx_at, conn->tx.len - conn->tx_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            want_out(conn, true);
            return;
        }
        if (n < 0 && errno != EINTR) {
            dead(conn, strerror(errno));
            return;
        }
        if (n > 0)
            conn->tx_at += (size_t)n;
    }
    if (conn->state == WS_DEAD)
        return;
    buf_clear(&conn->tx);
    conn->tx_at = 0;
    want_out(conn, false);
}

/* Appends a client frame: final, masked. The mask need not be secret here. */
static void put_frame(struct ws_conn *conn, unsigned opcode, struct span payload)
{
    static const unsigned char mask[4] = {0x5a, 0xc3, 0x21, 0x9e};
    unsigned char head[14] = {(unsigned char)(0x80 | opcode)};
    size_t size = 2;
    if (payload.n < 126) {
        head[1] = (unsigned char)(0x80 | payload.n);
    } else if (payload.n < 65536) {
        head[1] = 0x80 | 126;
        head[2] = (unsigned char)(payload.n >> 8);
        head[3] = (unsigned char)payload.n;
        size = 4;
    } else {
        head[1] = 0x80 | 127;
        for (unsigned i = 0; i < 8; i++)
            head[2 + i] = (unsigned char)((uint64_t)payload.n >> (56 - 8 * i));
        size = 10;
    }
    memcpy(head + size, mask, 4);
    buf_append(&conn->tx, head, size + 4);
    unsigned char *to = (unsigned char *)buf_reserve(&conn->tx, payload.n);
    for (size_t i = 0; i < payload.n; i++)
        to[i] = (unsigned char)((unsigned char)payload.p[i] ^ mask[i & 3]);
    conn->tx.len += payload.n;
}

void ws_send(struct ws_conn *conn, struct span text)
{
    if (conn->state == WS_OPEN)
        put_frame(conn, 1, text);
}

void ws_open(struct ws_conn *conn)
{
    struct ws_client *client = conn->client;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        die("socket: %s", strerror(errno));
    int on = 1;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const struct sockaddr *address = (const struct sockaddr *)&client->address;
    if (connect(conn->fd, address, sizeof client->address) < 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = conn->index};
    epoll_ctl(client->epoll, EPOLL_CTL_ADD, conn->fd, &event);
    conn->wants_out = true;
    conn->state = WS_CONNECTING;
}

static void on_connected(struct ws_conn *conn)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        dead(conn, strerror(error));
        return;
    }
    buf_printf(&conn->tx,
               "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Protocol: taskhub.v1\r\n\r\n",
               conn->client->port);
    conn->state = WS_SHAKING;
}

/* Takes the upgrade's response off rx; false while it is incomplete or when it was refused. */
static bool take_response(struct ws_conn *conn)
{
    static const char ok_line[] = "HTTP/1.1 101";
    const char *end = memmem(conn->rx.data, conn->rx.len, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    if (conn->rx.len < sizeof ok_line || memcmp(conn->rx.data, ok_line, sizeof ok_line - 1) != 0) {
        dead(conn, "the upgrade was refused");
        return false;
    }
    buf_consume(&conn->rx, (size_t)(end + 4 - conn->rx.data));
    conn->state = WS_OPEN;
    conn->client->ops->on_open(conn);
    return conn->state == WS_OPEN;
}

static void on_frame(struct ws_conn *conn, unsigned first, struct span payload)
{
    unsigned opcode = first & 15;
    if (opcode == 8) {
        char why[32];
        unsigned code =
            payload.n < 2 ? 1005 : (unsigned)((unsigned char)payload.p[0] << 8 | (unsigned char)payload.p[1]);
        snprintf(why, sizeof why, "closed with %u", code);
        dead(conn, why);
    } else if (opcode == 9) {
        put_frame(conn, 10, payload);
    } else if (opcode == 10) {
        return;
    } else if ((first & 0x80) && opcode) {
        conn->client->ops->on_text(conn, payload);
    } else {
        buf_append_span(&conn->fragments, payload);
        if (!(first & 0x80))
            return;
        struct buf whole = conn->fragments;
        conn->fragments = BUF_INIT;
        conn->client->ops->on_text(conn, buf_span(&whole));
        buf_free(&whole);
    }
}

/* The size of the frame at p, 0 while it is incomplete; *ret_head is where its payload begins. */
static size_t frame_size(const unsigned char *p, size_t n, size_t *ret_head)
{
    if (n < 2)
        return 0;
    uint64_t length = p[1] & 127;
    size_t head = length == 126 ? 4 : length == 127 ? 10 : 2;
    if (n < head)
        return 0;
    if (head > 2)
        length = 0;
    for (size_t i = 2; i < head; i++)
        length = length << 8 | p[i];
    *ret_head = head;
    return n - head < length ? 0 : head + (size_t)length;
}

/* Hands over every whole frame of rx. The buffer is taken away meanwhile: a callback may end the
 * connection. */
static void take_frames(struct ws_conn *conn)
{
    struct buf rx = conn->rx;
    conn->rx = BUF_INIT;
    size_t at = 0, head, size;
    while (conn->state == WS_OPEN &&
           (size = frame_size((const unsigned char *)rx.data + at, rx.len - at, &head)) > 0) {
        on_frame(conn, (unsigned char)rx.data[at], (struct span){rx.data + at + head, size - head});
        at += size;
    }
    if (conn->state == WS_DEAD) {
        buf_free(&rx);
        return;
    }
    buf_consume(&rx, at);
    conn->rx = rx;
}

static void on_readable(struct ws_conn *conn)
{
    for (;;) {
        char *to = buf_reserve(&conn->rx, READ_SIZE);
        size_t room = conn->rx.cap - conn->rx.len;
        ssize_t n = recv(conn->fd, to, room, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            dead(conn, n ? strerror(errno) : "end of stream");
            return;
        }
        conn->rx.len += (size_t)n;
        if ((size_t)n < room)
            break;
    }
    if (conn->state == WS_SHAKING && !take_response(conn))
        return;
    if (conn->state == WS_OPEN)
        take_frames(conn);
    if (conn->state == WS_OPEN)
        ws_flush(conn);
}

void ws_poll(struct ws_client *client, int ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(client->epoll, events, NELEMS(events), ms);
    for (int i = 0; i < n; i++) {
        struct ws_conn *conn = &client->conns[events[i].data.u32];
        if (conn->state == WS_DEAD)
            continue;
        if (events[i].events & EPOLLOUT) {
            if (conn->state == WS_CONNECTING)
                on_connected(conn);
            ws_flush(conn);
        }
        if (conn->state != WS_DEAD && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_readable(conn);
    }
}
