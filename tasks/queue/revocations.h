/* SPDX-License-Identifier: MIT */
/* The list of what was revoked, as it stands in Redis: numbered entries, which hub/auth/bearers.h writes
 * and reads. Loop thread of the process that holds the connection. */
#pragma once

#include "tasks/queue/queue.h"

#define QUEUE_REVOCATIONS_PAGE 500

struct queue_revocations {
    bool ok; /* false: Redis did not answer */
    char epoch[24];
    uint64_t newest; /* the highest number ever given to an entry */
    uint64_t upto;   /* this page completes the list up to this number */
    size_t count;
    struct span entries[QUEUE_REVOCATIONS_PAGE];
};
typedef void queue_revocations_fn(void *ctx, const struct queue_revocations *page);

/* Adds an entry that counts until `until_s` (wall seconds). */
void queue_revoke(struct queue *queue, struct span entry, int64_t until_s, queue_done_fn *fn, void *ctx);
/* Reads the entries with numbers above `after`; there are more if upto < newest. */
void queue_read_revocations(struct queue *queue, uint64_t after, queue_revocations_fn *fn, void *ctx);
