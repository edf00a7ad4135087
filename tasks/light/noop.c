/* SPDX-License-Identifier: MIT */
/* Type noop: does nothing, or sleeps; for measuring the light path. Exists only with diagnostics. */
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"

static const struct json_field args[] = {
    {.name = "sleep_ms", .kinds = KIND_INTEGER, .min = 0, .max = 10000},
};

static void run(struct task_ctx *ctx)
{
    int64_t sleep_ms = task_arg_int(ctx, "sleep_ms", 0);
    if (sleep_ms) {
        task_progress(ctx, 0, "working", NULL);
        if (!task_sleep_ms(ctx, (unsigned)sleep_ms))
            return;
    }
    task_finish(ctx, NULL);
}

const struct task_type task_type_noop = {
    .name = "noop",
    .title = "Does nothing (for measuring)",
    .kind = TASK_LIGHT,
    .repeatable = true,
    .diagnostics = true,
    .args = args,
    .arg_count = NELEMS(args),
    .run = run,
};
