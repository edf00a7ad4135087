/* SPDX-License-Identifier: MIT */
/* A hash table of intrusive nodes; see table.h. */
#include "hub/base/table.h"

#include "hub/base/mem.h"

#include <sodium.h>

static uint64_t hash_of(struct span key)
{
    static unsigned char seed[crypto_shorthash_KEYBYTES];
    static bool seeded;
    if (!seeded) {
        randombytes_buf(seed, sizeof seed);
        seeded = true;
    }
    uint64_t hash;
    _Static_assert(crypto_shorthash_BYTES == sizeof hash, "SipHash gives 64 bits");
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)key.p, key.n, seed);
    return hash;
}

static struct table_node **bucket_of(const struct table *table, uint64_t hash)
{
    return &table->buckets[hash & (table->size - 1)];
}

struct table_node *table_find(const struct table *table, struct span key)
{
    if (table->count == 0)
        return NULL;
    uint64_t hash = hash_of(key);
    for (struct table_node *node = *bucket_of(table, hash); node; node = node->next)
        if (node->hash == hash && span_equal(node->key, key))
            return node;
    return NULL;
}

static void grow(struct table *table)
{
    struct table bigger = {.size = table->size ? table->size * 2 : 16, .count = table->count};
    bigger.buckets = xcalloc(bigger.size, sizeof(struct table_node *));
    for (size_t i = 0; i < table->size; i++) {
        struct table_node *next;
        for (struct table_node *node = table->buckets[i]; node; node = next) {
            next = node->next;
            struct table_node **bucket = bucket_of(&bigger, node->hash);
            node->next = *bucket;
            *bucket = node;
        }
    }
    free(table->buckets);
    *table = bigger;
}

void table_insert(struct table *table, struct table_node *node)
{
    if (table->count >= table->size)
        grow(table);
    node->hash = hash_of(node->key);
    struct table_node **bucket = bucket_of(table, node->hash);
    node->next = *bucket;
    *bucket = node;
    table->count++;
}

void *table_new(struct table *table, size_t size, struct span key)
{
    struct table_node *node = xcalloc(1, size + key.n + 1);
    char *copy = (char *)node + size;
    memcpy(copy, key.p, key.n);
    node->key = (struct span){copy, key.n};
    table_insert(table, node);
    return node;
}

void table_remove(struct table *table, struct table_node *node)
{
    struct table_node **at = bucket_of(table, node->hash);
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    node->next = NULL;
    table->count--;
}

struct table_node *table_any(const struct table *table)
{
    for (size_t i = 0; i < table->size; i++)
        if (table->buckets[i])
            return table->buckets[i];
    return NULL;
}

void table_free(struct table *table)
{
    free(table->buckets);
    *table = TABLE_INIT;
}
