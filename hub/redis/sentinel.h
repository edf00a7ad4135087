/* SPDX-License-Identifier: MIT */
/* Where a primary is, as its Sentinels say: a connection to one of them, the next one when that does not
 * answer or does not know. Loop thread only. Knows nothing of the primary itself. */
#pragma once

#include "hub/base/loop.h"
#include "hub/config/redis_url.h"

#include <stdbool.h>

struct sentinel;

struct sentinel_hooks {
    /* The answer to sentinel_ask(). `moved`: the same Sentinel named another address before. */
    void (*on_primary)(void *ctx, const char *host, unsigned port, bool moved);
    /* None of them told; `reason` is the last one's, English. They are tried again and again. */
    void (*on_trouble)(void *ctx, const char *reason);
    void *ctx;
};

/* `url` names Sentinels; its texts are copied. Begins to connect. A hook may call sentinel_free(). */
struct sentinel *sentinel_new(struct loop *loop, const struct redis_url *url, struct sentinel_hooks hooks);
/* Sets *sentinel to NULL; NULL is fine. No hook is called any more. */
void sentinel_free(struct sentinel **sentinel);
/* Asks where the primary is, as soon as a Sentinel is reached. `doubted`: what this one said led nowhere, so
 * the next one is asked. */
void sentinel_ask(struct sentinel *sentinel, bool doubted);
