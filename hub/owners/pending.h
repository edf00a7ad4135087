/* SPDX-License-Identifier: MIT */
/* The reorder buffer of one owner: events that arrived before an earlier one, or that must wait for a reply,
 * ascending by seq. Loop thread. Bounded: what is forgotten here stands in the log. */
#pragma once

#include "hub/base/list.h"
#include "hub/owners/event.h"

#define PENDING_MAX 256       /* events */
#define PENDING_BYTES 1048576 /* of their bodies */

struct pending_item {
    struct list node;
    uint64_t seq;        /* 0 for a latest-wins event … */
    uint64_t after;      /* … which then follows this one; else seq */
    struct event *event; /* NULL: a reply stands for it, it was never built here */
    uint64_t replied_to; /* serial of the member that this reply went to, 0 = nobody */
};
struct pending {
    struct list items;
    size_t count, bytes;
};
void pending_init(struct pending *pending);
/* Forgets all that waits. */
void pending_clear(struct pending *pending);
/* Keeps a logged event (or the bare seq) in its place; beyond the bounds the latest ones are forgotten. */
void pending_put(struct pending *pending, uint64_t seq, struct event *event, uint64_t replied_to);
/* What waits last of the event's task, NULL if nothing does. */
struct pending_item *pending_last_of(struct pending *pending, const struct event *event);
/* Keeps a latest-wins event behind what waits of its task, which is the only order it has; beyond the bounds
 * in place of an older one. Waiting is short, so nothing is dropped for it without need. */
void pending_put_latest(struct pending *pending, uint64_t delivered, struct event *event);
/* The first logged one's seq, 0 if there is none. */
uint64_t pending_first_seq(const struct pending *pending);
/* Takes one out and frees it. */
void pending_drop(struct pending *pending, struct pending_item *item);
