/* SPDX-License-Identifier: MIT */
/* Finds a primary by its Sentinels: keeps a connection to one of them, and moves to the next one when that
 * does not answer or does not know. Loop thread only. Knows nothing of the primary itself. */
#pragma once

#include "hub/base/loop.h"
#include "hub/config/redis_url.h"

#include <stdbool.h>

struct sentinel;

struct sentinel_hooks {
    /* The answer to sentinel_ask(); `host` is borrowed. `moved`: this Sentinel named another address
     * before. */
    void (*on_primary)(void *ctx, const char *host, unsigned port, bool moved);
    /* No Sentinel knows the address; `reason` (English) is the last one's. All are tried again and again. */
    void (*on_trouble)(void *ctx, const char *reason);
    void *ctx;
};

/* `url` names Sentinels; its texts are copied. Starts to connect. A hook may call sentinel_free(). */
struct sentinel *sentinel_new(struct loop *loop, const struct redis_url *url, struct sentinel_hooks hooks);
/* Frees it and sets *sentinel to NULL; NULL is fine. No hook is called any more. */
void sentinel_free(struct sentinel **sentinel);
/* Asks for the primary's address as soon as a Sentinel is connected. `doubted`: the address that this
 * Sentinel gave did not work, so the next one is asked. */
void sentinel_ask(struct sentinel *sentinel, bool doubted);
