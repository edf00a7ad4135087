/* SPDX-License-Identifier: MIT */
/* Looks up the embedded files; see embed.h. Any thread. */
#include "hub/config/embed_table.h"

const struct embed *embed_find(struct span name)
{
    size_t low = 0, high = embed_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct span other = span_of(embed_table[middle].name);
        size_t common = name.n < other.n ? name.n : other.n;
        int order = common ? memcmp(name.p, other.p, common) : 0;
        if (order == 0 && name.n == other.n)
            return &embed_table[middle];
        if (order < 0 || (order == 0 && name.n < other.n))
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
