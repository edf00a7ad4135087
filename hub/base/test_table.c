/* SPDX-License-Identifier: MIT */
/* hub/base/table.c: finding, growing, removing. */
#include "hub/base/mem.h"
#include "hub/base/table.h"
#include "tests/lib/tap.h"

#include <sodium.h>

struct thing {
    struct table_node node;
    char name[16];
};

int main(void)
{
    static struct thing things[1000];
    struct table table = TABLE_INIT;
    if (sodium_init() < 0)
        return 1;
    ok(table_find(&table, SPAN("x")) == NULL, "an empty table has nothing");
    ok(table_any(&table) == NULL, "at all");
    bool found = true, gone = true, kept = true;
    for (size_t i = 0; i < NELEMS(things); i++) {
        snprintf(things[i].name, sizeof things[i].name, "name %zu", i);
        things[i].node.key = span_of(things[i].name);
        table_insert(&table, &things[i].node);
    }
    for (size_t i = 0; i < NELEMS(things); i++)
        found = found && table_find(&table, span_of(things[i].name)) == &things[i].node;
    ok(found, "a thousand are found");
    is_int(table.count, 1000, "and counted");
    ok(table_find(&table, SPAN("name")) == NULL, "a prefix is another key");
    for (size_t i = 0; i < NELEMS(things); i += 2)
        table_remove(&table, &things[i].node);
    for (size_t i = 0; i < NELEMS(things); i++) {
        struct table_node *node = table_find(&table, span_of(things[i].name));
        if (i % 2)
            kept = kept && node == &things[i].node;
        else
            gone = gone && node == NULL;
    }
    ok(gone, "removed ones are gone");
    ok(kept, "the others stay");
    ok(table_any(&table) != NULL, "any of them");
    char name[] = "made";
    struct thing *made = table_new(&table, sizeof *made, span_of(name));
    name[0] = 'f';
    ok(table_find(&table, SPAN("made")) == &made->node && made->name[0] == '\0',
       "a made one has a copy of its key");
    is_text(made->node.key.p, "made", "as a text");
    table_remove(&table, &made->node);
    free(made);
    table_free(&table);
    is_int(table.count, 0, "freed");
    return done_testing();
}
