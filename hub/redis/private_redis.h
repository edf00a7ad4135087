/* SPDX-License-Identifier: MIT */
/* The hub's own redis-server: locks the data directory, starts the server on a unix socket in it, restarts
 * it, stops it. Knows neither Redis' protocol nor tasks. Loop thread only. */
#pragma once

#include "hub/base/buf.h"
#include "hub/base/child.h"
#include "hub/config/options.h"

struct private_redis;
struct private_redis_hooks {
    /* The lock is held; `url`: the server's address for this process and its children. False: the server is
     * no longer wanted and is not started. */
    bool (*on_locked)(void *ctx, const char *url);
    /* The lock could not be taken for 10 s; `reason` (English) says who holds it. */
    void (*on_failed)(void *ctx, const char *reason);
    void *ctx;
};

/* Starts. Checks at once all that can be: on an error NULL and *ret_reason (free()). Borrows the options,
 * which must outlive it. End it with private_redis_free(). */
struct private_redis *private_redis_new(struct loop *loop, const struct options *options,
                                        struct private_redis_hooks hooks, char **ret_reason);
/* Call when the server has answered: its back-off starts from zero again. */
void private_redis_ready(struct private_redis *redis);
/* Returns, in English, why the server does not run yet; NULL while its process runs. */
const char *private_redis_state(const struct private_redis *redis);
/* Returns the descriptor that a child must inherit to reach the socket (not the caller's to close), -1 if it
 * needs none. */
int private_redis_descriptor(const struct private_redis *redis);
/* Stops the server; fn is called when it has ended and its data is on disk. */
void private_redis_stop(struct private_redis *redis, void (*fn)(void *ctx), void *ctx);
/* Kills the server if it still runs and releases the lock; NULL is fine. Do not call from its hooks. */
void private_redis_free(struct private_redis **redis);

/* Appends the address of the server of the hub that runs in this data directory. *ret_descriptor (or -1) is
 * the caller's and must stay open while the address is used. False if no hub runs there: nobody holds the
 * lock. */
bool private_redis_address(const struct options *options, struct buf *ret_url, int *ret_descriptor) MUSTCHECK;
