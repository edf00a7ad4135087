/* The task types of this process by name; see task_type.h. Filled once in main(), read by any thread. */
#include "tasks/model/task_type.h"

#include "hub/base/mem.h"
#include "hub/base/table.h"

struct entry {
    struct table_node node;
    const struct task_type *type;
};

static const struct task_type *const none[] = {NULL};
static const struct task_type *const *all = none;
static struct entry *entries;
static struct table by_name;

void task_types_use(const struct task_type *const *types)
{
    size_t count = 0;
    while (types[count])
        count++;
    table_free(&by_name);
    free(entries);
    entries = xcalloc(count + 1, sizeof *entries);
    for (size_t i = 0; i < count; i++) {
        entries[i] = (struct entry){.node.key = span_of(types[i]->name), .type = types[i]};
        table_insert(&by_name, &entries[i].node);
    }
    all = types;
}

const struct task_type *task_type_find(const char *name)
{
    struct table_node *node = table_find(&by_name, span_of(name));
    return node ? container_of(node, struct entry, node)->type : NULL;
}

const struct task_type *const *task_type_all(void)
{
    return all;
}
