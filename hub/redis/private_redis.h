/* SPDX-License-Identifier: MIT */
/* The hub's own redis-server: locks the data directory, starts the server on a unix socket below it,
 * supervises it, stops it. Knows no protocol of Redis and no task. Loop thread only. */
#pragma once

#include "hub/base/buf.h"
#include "hub/base/child.h"
#include "hub/config/options.h"

struct private_redis;
struct private_redis_hooks {
    /* The lock is held: where the server will answer, for this process and its children. False: it is
     * not wanted any more and will not be started. */
    bool (*on_locked)(void *ctx, const char *url);
    /* It cannot be: somebody else holds the lock for 10 s. */
    void (*on_failed)(void *ctx, const char *reason);
    void *ctx;
};

/* Begins; everything that can be checked at once is: NULL and *ret_reason (free()). The options stay its
 * caller's and must outlive it. */
struct private_redis *private_redis_new(struct loop *loop, const struct options *options,
                                        struct private_redis_hooks hooks, char **ret_reason);
/* The server answered. */
void private_redis_ready(struct private_redis *redis);
/* Why it is not there yet, for people; NULL when its process runs. */
const char *private_redis_state(const struct private_redis *redis);
/* A descriptor that children need under its number to reach the socket, -1 if none. */
int private_redis_descriptor(const struct private_redis *redis);
/* Stops the server; its data is on disk when fn is called. */
void private_redis_stop(struct private_redis *redis, void (*fn)(void *ctx), void *ctx);
/* Kills it if it still runs, gives the lock back; NULL is fine. Not from its hooks. */
void private_redis_free(struct private_redis **redis);

/* Appends the address of a data directory's server as a client outside of the hub reaches it (for
 * `taskhub check`). False if nothing holds the lock, that is if no hub runs there. */
bool private_redis_address(const struct options *options, struct buf *ret_url, int *ret_descriptor) MUSTCHECK;
