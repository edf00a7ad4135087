/* SPDX-License-Identifier: MIT */
/* What waits to be sent on one connection. Frames are built when they are appended and stand in one
 * buffer. While the kernel takes nothing more (`blocked`), whatever comes goes to a backlog of objects
 * instead, in order, where the rules of the event classes apply (hub/owners/event.h); it is framed when the
 * socket drains. Knows `seq` and `from`. Loop thread only. Never writes to a socket. */
#pragma once

#include "hub/base/buf.h"
#include "hub/base/list.h"
#include "hub/owners/event.h"

struct outbox {
    struct buf out;     /* whole frames; those before `at` have left */
    size_t at;          /* always at the start of a frame */
    size_t in_flight;   /* at most so many bytes of a partial write have not left */
    bool blocked;       /* a partial write is pending */
    bool begun;         /* `given` is valid */
    uint64_t given;     /* seq of the last logged event given */
    struct list *items; /* backlog, NULL = empty */
    size_t item_bytes;
};

/* OUTBOX_FULL: while not blocked, a chunk is complete and should be written first; while blocked, the
 * budget is used up by things that must not be dropped. */
enum outbox_put { OUTBOX_TAKEN, OUTBOX_DROPPED, OUTBOX_FULL };

/* `budget` is limits.outbox_bytes: half of it for the backlog, a quarter (at most OUTBOX_CHUNK_MAX) for
 * frames that are ready, the same for those in flight. One frame larger than that may pass at a time. */
#define OUTBOX_CHUNK_MAX 65536
static inline size_t outbox_chunk(size_t budget)
{
    return budget / 4 < OUTBOX_CHUNK_MAX ? budget / 4 : OUTBOX_CHUNK_MAX;
}

/* Bytes that wait, in whatever form. */
size_t outbox_waiting(const struct outbox *outbox);
struct outbox_message {
    struct event *event; /* or, where that is NULL, */
    struct span text;
    bool droppable; /* of a text; what may happen to an event, its class says */
};
/* Appends a frame. While blocked, droppable ones are dropped when there is no room. */
enum outbox_put outbox_put(struct outbox *outbox, const struct outbox_message *message, size_t budget);
/* The event `seq` counts as given; keeps its place among what waits. */
void outbox_skip(struct outbox *outbox, uint64_t seq);
/* Appends a ping, unless something waits anyway. */
void outbox_ping(struct outbox *outbox);
/* Appends a close frame behind everything, or in place of what waits. */
void outbox_close(struct outbox *outbox, unsigned code, const char *reason, bool discard);

/* The next whole frames to write: at most `max` bytes, but at least one frame; empty if there are none. */
struct span outbox_next(struct outbox *outbox, size_t max);
/* The first `n` bytes of outbox_next() were handed over; `partial`: not all of them left. */
void outbox_sent(struct outbox *outbox, size_t n, bool partial);
/* The partial write has left. */
void outbox_drained(struct outbox *outbox);
/* Drops what waits; the outbox is empty and usable again. */
void outbox_free(struct outbox *outbox);
