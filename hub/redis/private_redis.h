/* SPDX-License-Identifier: MIT */
/* The hub's own redis-server: locks the data directory, starts the server on a unix socket below it, starts
 * it again, stops it. Knows neither Redis' protocol nor tasks. Loop thread only. */
#pragma once

#include "hub/base/buf.h"
#include "hub/base/child.h"
#include "hub/config/options.h"

struct private_redis;
struct private_redis_hooks {
    /* The lock is held; `url`: where the server will answer this process and its children. False: it is not
     * wanted any more and not started. */
    bool (*on_locked)(void *ctx, const char *url);
    /* The lock was not to be had for 10 s; `reason` says who holds it. */
    void (*on_failed)(void *ctx, const char *reason);
    void *ctx;
};

/* Begins; everything that can be checked at once is: NULL and *ret_reason (free()). The options stay its
 * caller's and must outlive it. */
struct private_redis *private_redis_new(struct loop *loop, const struct options *options,
                                        struct private_redis_hooks hooks, char **ret_reason);
/* Says that the server answered: its deaths are counted from zero. */
void private_redis_ready(struct private_redis *redis);
/* Returns why it is not there yet, for people; NULL while its process runs. */
const char *private_redis_state(const struct private_redis *redis);
/* Returns the descriptor that a child must inherit to reach the socket, -1 if it needs none. */
int private_redis_descriptor(const struct private_redis *redis);
/* Stops the server; its data is on disk when fn is called. */
void private_redis_stop(struct private_redis *redis, void (*fn)(void *ctx), void *ctx);
/* Kills it if it still runs, gives the lock back; NULL is fine. Not from its hooks. */
void private_redis_free(struct private_redis **redis);

/* Appends the address of the server of the hub that runs in this data directory. *ret_descriptor (or -1) must
 * stay open while it is used. False if no hub runs there: nothing holds the lock. */
bool private_redis_address(const struct options *options, struct buf *ret_url, int *ret_descriptor) MUSTCHECK;
