/* Turns a host and a port into an address, a name in libuv's threads, so that a slow name server does not
 * stop the loop. Loop thread only; hub/redis/redis.c is the one user. */
#pragma once

#include "hub/base/loop.h"

struct redis_resolve;

/* `address` NULL: `error`, English. Of several addresses number `pick` modulo their count, so that attempts
 * go through them all. */
typedef void redis_resolve_fn(void *ctx, const struct sockaddr *address, socklen_t size, const char *error);
/* Calls fn once, before it returns NULL (a numeric address, or no memory) or later. */
struct redis_resolve *redis_resolve(struct loop *loop, const char *host, unsigned port, unsigned pick,
                                    redis_resolve_fn *fn, void *ctx);
/* fn will not be called. Sets *resolve to NULL; NULL is fine. */
void redis_resolve_cancel(struct redis_resolve **resolve);
