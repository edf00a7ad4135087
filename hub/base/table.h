/* SPDX-License-Identifier: MIT */
/* A hash table of intrusive nodes keyed by text, with a secret hash seed (keys come from tokens and
 * addresses). Owns its buckets only; the key's bytes belong to the object that holds the node. */
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
    size_t size;                 /* of buckets: 0 or a power of two */
    size_t count;
};

#define TABLE_INIT ((struct table){NULL, 0, 0})

struct table_node *table_find(const struct table *table, struct span key);
/* Inserts a node with node->key set; the key must not be in the table yet. */
void table_insert(struct table *table, struct table_node *node);
/* Takes out a node that is in the table. */
void table_remove(struct table *table, struct table_node *node);
/* Frees the buckets; the nodes are left to their holders. */
void table_free(struct table *table);
/* Any node, NULL if the table is empty: for tearing down. */
struct table_node *table_any(const struct table *table);
