/* What a submission must satisfy before anything is stored: type, token, role, stream, size and shape of
 * its arguments, in this order. Loop thread; no state. */
#include "hub/config/options.h"
#include "tasks/manager/submission.h"

#include <stdio.h>

#define ARGS_MAX 32 /* declared arguments of one type */

static const struct task_type *find_type(const struct manager *manager, struct span name)
{
    char text[65];
    if (name.n == 0 || name.n >= sizeof text)
        return NULL;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    const struct task_type *type = task_type_find(text);
    return type && type->diagnostics && !manager->config.options->diagnostics ? NULL : type;
}

static bool args_fit(const struct task_type *type, struct span args, struct json_field_error *error)
{
    struct span values[ARGS_MAX];
    if (args.p && json_kind_of(args) != KIND_OBJECT) {
        snprintf(error->field, sizeof error->field, "args");
        snprintf(error->message, sizeof error->message, "args: must be an object");
        return false;
    }
    return json_match(args, type->args, type->arg_count, values, error) &&
           (type->check == NULL || type->check(values, error));
}

/* Whether the arguments (which fit) name nobody but the caller, or the caller may. */
static bool names_own(const struct task_type *type, const struct task_request *request)
{
    if (type->owner_arg == NULL || request->args.p == NULL || request->who->roles & ROLE_ADMIN)
        return true;
    struct span owner = json_get(request->args, type->owner_arg);
    return owner.p == NULL || json_string_is(owner, request->who->user_id);
}

static enum task_refusal refusal_of(const struct manager *manager, const struct task_request *request,
                                    const struct task_type *type, struct json_field_error *error)
{
    if (!principal_may_submit(request->who, type->name))
        return TASK_TYPE_NOT_IN_TOKEN;
    if (type->admin && !(request->who->roles & ROLE_ADMIN))
        return TASK_ROLE;
    if (type->stream != request->stream)
        return type->stream ? TASK_NEEDS_STREAM : TASK_NO_STREAM;
    if (request->args.n > (size_t)manager->config.options->args_bytes)
        return TASK_ARGS_TOO_LARGE;
    if (!args_fit(type, request->args, error))
        return TASK_BAD_ARGS;
    return names_own(type, request) ? TASK_ACCEPTED : TASK_ROLE;
}

const struct task_type *manager_check(const struct manager *manager, const struct task_request *request,
                                      struct task_reply *ret)
{
    const struct task_type *type = ret->type = find_type(manager, request->task);
    ret->refusal = type ? refusal_of(manager, request, type, &ret->error) : TASK_UNKNOWN_TYPE;
    return ret->refusal == TASK_ACCEPTED ? type : NULL;
}
