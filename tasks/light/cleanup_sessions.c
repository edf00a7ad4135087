/* SPDX-License-Identifier: MIT */
/* Type cleanup_sessions: removes expired sessions and leftovers. The service `cleanup` does the work in
 * steps that are small for Redis; each tells whether there is more. */
#include "hub/config/options.h"
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"

#include <stdio.h>

static const struct json_field args[] = {
    {.name = "older_than_s", .kinds = KIND_INTEGER, .min = 0, .max = 31536000},
};

/* Adds the counts of one step to `sum`. */
static void add_counts(json_t *sum, const json_t *counts)
{
    const char *name;
    json_t *count;
    json_object_foreach((json_t *)(uintptr_t)counts, name, count)
    {
        json_int_t before = json_integer_value(json_object_get(sum, name));
        json_object_set_new(sum, name, json_integer(before + json_integer_value(count)));
    }
}

/* Does one step and sets *cursor for the next ("0" = done). False when the service did not answer. */
static bool step(struct task_ctx *ctx, char cursor[static 32], json_t *sum)
{
    json_t *order = json_pack("{s:s, s:I, s:I}", "cursor", cursor, "older_than_s",
                              (json_int_t)task_arg_int(ctx, "older_than_s", 0), "retention_s",
                              (json_int_t)task_options(ctx)->retention_heavy_s);
    json_t *answer = task_call(ctx, "cleanup", order);
    if (answer == NULL)
        return false;
    const char *next = json_string_value(json_object_get(answer, "cursor"));
    snprintf(cursor, 32, "%s", next ? next : "0");
    add_counts(sum, json_object_get(answer, "removed"));
    json_decref(answer);
    return true;
}

static void run(struct task_ctx *ctx)
{
    char cursor[32] = "0";
    json_t *removed = json_object();
    task_progress(ctx, 0, "scanning", NULL);
    do {
        if (!step(ctx, cursor, removed)) {
            json_decref(removed);
            task_fail(ctx, (struct task_error){"unavailable", true}, "Redis did not answer");
            return;
        }
        task_progress(ctx, 50, "removing", NULL);
    } while (strcmp(cursor, "0") != 0 && !task_cancelled(ctx));
    task_finish(ctx, removed);
}

const struct task_type task_type_cleanup_sessions = {
    .name = "cleanup_sessions",
    .title = "Removes expired sessions and what was left behind",
    .kind = TASK_LIGHT,
    .repeatable = true,
    .admin = true,
    .args = args,
    .arg_count = NELEMS(args),
    .run = run,
};
