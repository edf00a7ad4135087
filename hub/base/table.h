/* SPDX-License-Identifier: MIT */
/* A hash table of intrusive nodes keyed by text. Uses SipHash-2-4 with a secret seed, since clients choose
 * keys. Owns only its buckets; a key's bytes belong to the object that contains the node. One thread at a
 * time. */
#pragma once

#include "hub/base/span.h"

#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint64_t hash;
    struct span key; /* must stay valid while the node is in the table */
};

struct table {
    struct table_node **buckets; /* NULL while empty */
    size_t size;                 /* number of buckets: 0 or a power of two */
    size_t count;
};

#define TABLE_INIT ((struct table){NULL, 0, 0})

/* Returns the node with this key, NULL if there is none. */
struct table_node *table_find(const struct table *table, struct span key);
/* Inserts a node; its key must be set and not in the table yet. */
void table_insert(struct table *table, struct table_node *node);
/* Makes and inserts an object of `size` bytes that begins with its node: zeroed, followed by a copy of the
 * key and a NUL. The key must not be in the table yet. Free it with free() after table_remove(). */
void *table_new(struct table *table, size_t size, struct span key);
/* Removes a node that is in the table. */
void table_remove(struct table *table, struct table_node *node);
/* Frees the buckets, but not the nodes. */
void table_free(struct table *table);
/* Returns any node, NULL if the table is empty; for tearing down. O(buckets). */
struct table_node *table_any(const struct table *table);
