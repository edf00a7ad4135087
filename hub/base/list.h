/* SPDX-License-Identifier: MIT */
/* An intrusive doubly linked list: the node is a member of the object, the list owns nothing. One thread at a
 * time.
 */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>

struct list {
    struct list *next, *prev; /* an unlinked node and an empty head point to themselves */
};

/* Initialises an empty list or an unlinked node. */
static inline void list_init(struct list *node)
{
    node->next = node->prev = node;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

/* Appends an unlinked node at the end. */
static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Unlinks `node`, if it is in a list. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Moves all nodes of `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* Unlinks and returns the first node, NULL if the list is empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *node = head->next;
    if (node == head)
        return NULL;
    list_remove(node);
    return node;
}

#define list_for_each(node, head) for (struct list *node = (head)->next; node != (head); node = node->next)
/* The same; the body may unlink `node`. */
#define list_for_each_safe(node, after, head)                                                                \
    for (struct list *node = (head)->next, *after = node->next; node != (head);                              \
         node = after, after = node->next)
