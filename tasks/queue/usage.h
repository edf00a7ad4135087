/* SPDX-License-Identifier: MIT */
/* What people do, noted in Redis until a heavy task moves or clears it: impressions, and the register of
 * sessions that cleanup_sessions works on. Loop thread of the process that holds the connection. */
#pragma once

#include "tasks/queue/queue.h"

/* Counts one impression of a resource (kind NULL = "view"). effect_id: of its idempotency key, NULL =
 * none; a key is counted once, and repeating it is QUEUE_OK. QUEUE_MISMATCH: the key stands for something
 * else. QUEUE_GLOBAL_LIMIT: there are too many counters for a new one. */
void usage_impression(struct queue *queue, const char *resource_id, const char *kind, const char *effect_id,
                      queue_done_fn *fn, void *ctx);
/* Registers an authenticated connection's session until expires_at_s (wall seconds); `session` is any
 * unique id. */
void usage_session(struct queue *queue, const char *owner, const char *session, int64_t expires_at_s);
