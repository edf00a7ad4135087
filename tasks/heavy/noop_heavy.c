/* SPDX-License-Identifier: MIT */
/* Type noop_heavy: reports progress in steps and does nothing else; for measuring the heavy path. Exists
 * only with diagnostics. */
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"

static const struct json_field args[] = {
    {.name = "steps", .kinds = KIND_INTEGER, .required = true, .min = 0, .max = 10000},
    {.name = "sleep_ms", .kinds = KIND_INTEGER, .min = 0, .max = 60000},
};

static void run(struct task_ctx *ctx)
{
    int64_t steps = task_arg_int(ctx, "steps", 0), sleep_ms = task_arg_int(ctx, "sleep_ms", 0);
    for (int64_t step = 1; step <= steps; step++) {
        if (sleep_ms ? !task_sleep_ms(ctx, (unsigned)sleep_ms) : task_cancelled(ctx))
            return;
        task_progress(ctx, (int)(step * 100 / steps), "working", NULL);
    }
    task_finish(ctx, NULL);
}

const struct task_type task_type_noop_heavy = {
    .name = "noop_heavy",
    .title = "Reports progress and does nothing else (for measuring)",
    .kind = TASK_HEAVY,
    .queue = "default",
    .isolation = TASK_IN_SLOT,
    .diagnostics = true,
    .args = args,
    .arg_count = NELEMS(args),
    .run = run,
};
