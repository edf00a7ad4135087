/* SPDX-License-Identifier: MIT */
/* The task types of this process and where they run; see task_type.h. Set in main(), immutable afterwards;
 * never runs a task. */
#include "tasks/model/task_type.h"

#include "hub/base/mem.h"
#include "hub/base/table.h"
#include "hub/config/options.h"

struct entry {
    struct table_node node;
    const struct task_type *type;
    enum task_route route;
};

static const struct task_type *const none[] = {NULL};
static const struct task_type *const *all = none;
static struct entry *entries; /* the last one is empty */
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
        entries[i] = (struct entry){.node.key = span_of(types[i]->name),
                                    .type = types[i],
                                    .route = types[i]->kind == TASK_LIGHT ? ROUTE_THREADS : ROUTE_QUEUE};
        table_insert(&by_name, &entries[i].node);
    }
    all = types;
}

static struct entry *find(struct span name)
{
    struct table_node *node = table_find(&by_name, name);
    return node ? container_of(node, struct entry, node) : NULL;
}

const struct task_type *task_type_find(const char *name)
{
    const struct entry *entry = find(span_of(name));
    return entry ? entry->type : NULL;
}

const struct task_type *const *task_type_all(void)
{
    return all;
}

/* Why the type cannot take this route, NULL if it can. */
static const char *refuse(const struct entry *entry, enum task_route route)
{
    if (entry == NULL)
        return "there is no such task type";
    if (route == ROUTE_THREADS && (entry->type->stream || entry->type->isolation == TASK_FRESH))
        return "this type needs a process of its own and cannot run on threads";
    return NULL;
}

bool task_types_route(const struct options *options, char **ret_reason)
{
    for (const char *line = options->routes + 1; *line; line = strchr(line, '\n') + 1) {
        struct span name = {line, strcspn(line, "=")};
        struct entry *entry = find(name);
        enum task_route route = line[name.n + 1] == 't' ? ROUTE_THREADS : ROUTE_QUEUE; /* checked before */
        const char *reason = refuse(entry, route);
        if (reason) {
            *ret_reason = xasprintf("routes.%.*s: %s", SPAN_ARG(name), reason);
            return false;
        }
        entry->route = route;
    }
    return true;
}

enum task_route task_type_route(const struct task_type *type)
{
    const struct entry *entry = entries;
    while (entry->type != type)
        entry++;
    return entry->route;
}

unsigned task_type_reach(const struct task_type *type, const struct options *options)
{
    return type->reach | (type->configured_reach ? type->configured_reach(options) : 0);
}
