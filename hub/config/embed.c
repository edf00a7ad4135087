/* SPDX-License-Identifier: MIT */
/* Finds an embedded file; see embed.h. Any thread; never reads the disk. */
#include "hub/config/embed_table.h"

const struct embed *embed_find(struct span name)
{
    for (size_t i = 0; i < embed_count; i++)
        if (span_is(name, embed_table[i].name))
            return &embed_table[i];
    return NULL;
}
