/* SPDX-License-Identifier: MIT */
/* The network side of a hub: the listening socket, the connection table, HTTP. Loop
 * thread only. Knows neither methods nor tasks: what a message means is behind conn_ops. */
#pragma once

#include "hub/base/loop.h"
#include "hub/config/options.h"
#include "hub/net/conn.h"

struct server;
struct server_config {
    struct loop *loop;
    const struct options *options;
    struct conn_ops ops;
    void *app; /* for ops.on_open and ready */
    /* /readyz: true = 200, else 503. Appends members of its JSON object, "reasons" and "warnings". */
    bool (*ready)(void *app, struct buf *members);
};
/* Listens at options->listen. NULL and *ret_reason (free()), naming the option, on failure. */
struct server *server_new(const struct server_config *config, char **ret_reason);
/* "127.0.0.1:8080" as bound (port 0 resolved). */
const char *server_address(const struct server *server);
/* Stops accepting, tells every connection hub.draining, closes them with 4100 in batches; fn is called
 * when none is left (at most timeout_ms later). */
void server_drain(struct server *server, unsigned timeout_ms, void (*fn)(void *ctx), void *ctx);
/* Drops what is connected and frees it. Not from a callback. */
void server_free(struct server **server);
