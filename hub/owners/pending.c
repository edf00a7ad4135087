/* SPDX-License-Identifier: MIT */
/* The reorder buffer of one owner; see pending.h. Loop thread. */
#include "hub/owners/pending.h"

void pending_init(struct pending *pending)
{
    *pending = (struct pending){.count = 0};
    list_init(&pending->items);
}

static struct pending_item *item_of(struct list *node)
{
    return container_of(node, struct pending_item, node);
}

static size_t item_bytes(const struct pending_item *item)
{
    return item->event ? item->event->size : 0;
}

void pending_drop(struct pending *pending, struct pending_item *item)
{
    list_remove(&item->node);
    pending->count--;
    pending->bytes -= item_bytes(item);
    event_unref(&item->event);
    free(item);
}

void pending_clear(struct pending *pending)
{
    while (!list_empty(&pending->items))
        pending_drop(pending, item_of(pending->items.next));
}

uint64_t pending_first_seq(const struct pending *pending)
{
    list_for_each (node, &pending->items)
        if (item_of(node)->seq)
            return item_of(node)->seq;
    return 0;
}

/* Inserts a copy of the item after `before` (which may be the head). */
static void insert_behind(struct pending *pending, struct list *before, struct pending_item item)
{
    struct pending_item *made = xmalloc(sizeof *made);
    *made = item;
    if (item.event)
        event_ref(item.event);
    pending->count++;
    pending->bytes += item_bytes(made);
    list_append(before->next, &made->node);
}

static bool full(const struct pending *pending, const struct event *event)
{
    return pending->count >= PENDING_MAX || pending->bytes + (event ? event->size : 0) > PENDING_BYTES;
}

/* Merges two items of the same seq. */
static void merge(struct pending *pending, struct pending_item *item, struct event *event,
                  uint64_t replied_to)
{
    if (item->event == NULL && event) {
        item->event = event_ref(event);
        pending->bytes += event->size;
    }
    if (replied_to)
        item->replied_to = replied_to;
}

void pending_put(struct pending *pending, uint64_t seq, struct event *event, uint64_t replied_to)
{
    struct list *at = pending->items.prev;
    while (at != &pending->items && item_of(at)->after > seq)
        at = at->prev;
    for (struct list *same = at; same != &pending->items && item_of(same)->after == seq; same = same->prev)
        if (item_of(same)->seq == seq) {
            merge(pending, item_of(same), event, replied_to);
            return;
        }
    while (full(pending, event)) {
        if (pending->items.prev == at)
            return;
        pending_drop(pending, item_of(pending->items.prev));
    }
    insert_behind(pending, at,
                  (struct pending_item){.seq = seq, .after = seq, .event = event, .replied_to = replied_to});
}

static bool same_task(const struct event *a, const struct event *b)
{
    return memcmp(a->task_id, b->task_id, ID_SIZE) == 0;
}

/* Whether `event` is older than the waiting one. */
static bool older(const struct event *event, const struct event *waiting)
{
    return event->attempt < waiting->attempt ||
           (event->attempt == waiting->attempt && event->rev <= waiting->rev);
}

struct pending_item *pending_last_of(struct pending *pending, const struct event *event)
{
    for (struct list *at = pending->items.prev; at != &pending->items; at = at->prev)
        if (item_of(at)->event && same_task(item_of(at)->event, event))
            return item_of(at);
    return NULL;
}

void pending_put_latest(struct pending *pending, uint64_t delivered, struct event *event)
{
    struct pending_item *last = pending_last_of(pending, event);
    uint64_t after = last ? last->after : delivered;
    struct list *behind = last ? &last->node : &pending->items;
    if (last && last->event->type == event->type) {
        if (older(event, last->event))
            return;
        if (full(pending, event)) {
            behind = last->node.prev;
            pending_drop(pending, last);
        }
    }
    if (!full(pending, event))
        insert_behind(pending, behind, (struct pending_item){.after = after, .event = event});
}
