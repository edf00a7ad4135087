/* SPDX-License-Identifier: MIT */
/* The list of what was revoked, as it stands in Redis: numbered entries, which hub/auth/bearers.h writes
 * and reads. Loop thread of the process that holds the connection. */
#pragma once

#include "tasks/queue/queue.h"

#define DENIALS_PAGE 500

struct denials {
    bool ok; /* false: Redis did not answer */
    char epoch[24];
    uint64_t newest; /* the highest number ever given to an entry */
    uint64_t upto;   /* this page completes the list up to this number */
    size_t count;
    struct span entries[DENIALS_PAGE];
};
typedef void denials_fn(void *ctx, const struct denials *page);

/* Adds an entry that counts until `until_s` (wall seconds). */
void denials_add(struct queue *queue, struct span entry, int64_t until_s, queue_done_fn *fn, void *ctx);
/* Reads the entries with numbers above `after`; there are more if upto < newest. */
void denials_read(struct queue *queue, uint64_t after, denials_fn *fn, void *ctx);
