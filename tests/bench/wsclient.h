/* SPDX-License-Identifier: MIT */
/* Many WebSocket client connections on one epoll descriptor, for measuring servers. Whatever a server
 * sends is framed here; what it means is behind ws_ops. One thread. Loopback or IPv4 only, no TLS. */
#pragma once

#include "hub/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct ws_client;

struct ws_conn {
    struct ws_client *client;
    unsigned index;
    enum { WS_NEW, WS_CONNECTING, WS_SHAKING, WS_OPEN, WS_DEAD } state;
    int fd;
    bool wants_out;
    struct buf rx, tx, fragments;
    size_t tx_at; /* bytes of tx that left */
};

struct ws_ops {
    void (*on_open)(struct ws_conn *conn);
    void (*on_text)(struct ws_conn *conn, struct span text);
    void (*on_dead)(struct ws_conn *conn, const char *why); /* once per connection */
};

/* Room for `count` connections to host:port; nothing is opened yet. Exits the program on errors of the
 * machine itself (no memory, no descriptors). */
struct ws_client *ws_client_new(const char *host, unsigned port, unsigned count, const struct ws_ops *ops);
void ws_client_free(struct ws_client **client);
struct ws_conn *ws_conn_at(struct ws_client *client, unsigned index);
/* Starts to connect; on_open follows after the upgrade. */
void ws_open(struct ws_conn *conn);
/* Appends one text frame; it leaves when the current callbacks of this connection are done, or now. */
void ws_send(struct ws_conn *conn, struct span text);
void ws_flush(struct ws_conn *conn);
/* Handles what is ready; waits at most ms for it. */
void ws_poll(struct ws_client *client, int ms);
/* A message on stderr, then exit code 2. */
void die(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));
