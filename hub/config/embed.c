/* SPDX-License-Identifier: MIT */
/* Looks up the embedded files; see embed.h. Any thread. */
#include "hub/config/embed_table.h"

const struct embed *embed_find(struct span name)
{
    for (size_t i = 0; i < embed_count; i++)
        if (span_is(name, embed_table[i].name))
            return &embed_table[i];
    return NULL;
}
