/* Checking `routes.<type> = <executor>`; see routes.h. */
#include "tasks/model/routes.h"

#include "tasks/model/task_type.h"

#include <stdio.h>

/* NULL, or what is wrong with sending `name` there. */
static const char *refuse(const char *name, struct span executor)
{
    const struct task_type *type = task_type_find(name);
    if (type == NULL)
        return "there is no such task type";
    if (span_is(executor, "threads") && (type->stream || type->isolation == TASK_FRESH))
        return "this type needs a process of its own and cannot run on threads";
    return NULL;
}

bool routes_check(const struct options *options, char **ret_reason)
{
    char name[80];
    for (const char *line = options->routes + 1; *line;) {
        size_t length = strcspn(line, "\n"), type = strcspn(line, "=");
        snprintf(name, sizeof name, "%.*s", (int)type, line);
        const char *reason = refuse(name, (struct span){line + type + 1, length - type - 1});
        if (reason) {
            if (asprintf(ret_reason, "routes.%s: %s", name, reason) < 0)
                abort();
            return false;
        }
        line += length + 1;
    }
    return true;
}
