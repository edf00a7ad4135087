/* `routes.<type> = <executor>`, read once; see routes.h. */
#include "tasks/model/routes.h"

#include "hub/config/options.h"

#include <stdio.h>

struct configured {
    const struct task_type *type;
    enum task_route route;
};
static struct configured *configured;
static size_t configured_count;

/* NULL, or what is wrong with sending this type there. */
static const char *refuse(const struct task_type *type, enum task_route route)
{
    if (type == NULL)
        return "there is no such task type";
    if (route == ROUTE_THREADS && (type->stream || type->isolation == TASK_FRESH))
        return "this type needs a process of its own and cannot run on threads";
    return NULL;
}

bool routes_use(const struct options *options, char **ret_reason)
{
    char name[80];
    configured_count = 0;
    for (const char *line = options->routes + 1; *line; line = strchr(line, '\n') + 1) {
        size_t n = strcspn(line, "=");
        snprintf(name, sizeof name, "%.*s", (int)n, line);
        const struct task_type *type = task_type_find(name);
        enum task_route route = line[n + 1] == 't' ? ROUTE_THREADS : ROUTE_QUEUE; /* no other word gets in */
        const char *reason = refuse(type, route);
        if (reason) {
            if (asprintf(ret_reason, "routes.%s: %s", name, reason) < 0)
                abort();
            return false;
        }
        configured = xrealloc(configured, (configured_count + 1) * sizeof *configured);
        configured[configured_count++] = (struct configured){type, route};
    }
    return true;
}

enum task_route route_of(const struct task_type *type)
{
    for (size_t i = 0; i < configured_count; i++)
        if (configured[i].type == type)
            return configured[i].route;
    return type->kind == TASK_LIGHT ? ROUTE_THREADS : ROUTE_QUEUE;
}
