/* SPDX-License-Identifier: MIT */
/* The reorder buffer of one owner: events that arrived before an earlier one, or that must wait for a reply,
 * ascending by seq. Loop thread. Bounded: dropped events can be read from the log. */
#pragma once

#include "hub/base/list.h"
#include "hub/owners/event.h"

#define PENDING_MAX 256       /* most events */
#define PENDING_BYTES 1048576 /* most bytes of their bodies */

struct pending_item {
    struct list node;
    uint64_t seq;        /* 0 for a latest-wins event … */
    uint64_t after;      /* … which then follows this one; else seq */
    struct event *event; /* NULL: not built here, since a reply reports it */
    uint64_t replied_to; /* serial of the member that the reply went to, 0 = none */
};
struct pending {
    struct list items;
    size_t count, bytes;
};
void pending_init(struct pending *pending);
/* Drops all items. */
void pending_clear(struct pending *pending);
/* Keeps a logged event (or only its seq) in order; beyond the bounds drops the latest. Takes a reference. */
void pending_put(struct pending *pending, uint64_t seq, struct event *event, uint64_t replied_to);
/* The last item of the event's task, NULL if there is none. */
struct pending_item *pending_last_of(struct pending *pending, const struct event *event);
/* Keeps an EVENT_LATEST event after the last item of its task, which is the only order it has; beyond the
 * bounds it replaces an older one. `delivered`: the owner's cursor. Drops nothing while there is room, since
 * events wait only briefly. */
void pending_put_latest(struct pending *pending, uint64_t delivered, struct event *event);
/* The seq of the first logged event, 0 if there is none. */
uint64_t pending_first_seq(const struct pending *pending);
/* Removes an item and frees it. */
void pending_drop(struct pending *pending, struct pending_item *item);
