/* What the two files of the feed share. Loop thread only. */
#pragma once

#include "tasks/queue/queue_private.h"

/* Reads logged events behind `after`, at most `max`; see struct owner_source. */
void queue_replay(struct queue *queue, const char *owner, uint64_t after, size_t max, owner_replay_fn *fn,
                  void *ctx);
/* See struct queue: .tell_logged. */
void queue_tell_logged(struct queue *queue, const char *owner, uint64_t after);
/* Reads a message about tasks that were handed over, which it changes, and tells the hook on_handed. */
void queue_read_handed(struct queue *queue, char *message, const struct queue_feed_hooks *hooks);
