/* SPDX-License-Identifier: MIT */
/* Work that can be watched; see demo_steps.h. On the thread that runs the task; keeps no state. */
#include "tasks/model/demo_steps.h"

#include "tasks/model/ctx.h"

#include <stdio.h>

const struct json_field demo_steps_args[1] = {
    {.name = "seconds", .kinds = KIND_INTEGER, .required = true, .min = 1, .max = DEMO_SECONDS_MAX},
};

/* The stage of a step; the first and the last have their own. */
static const char *stage_of(int step, int steps)
{
    return step == 1 ? "preparing" : step == steps ? "finishing" : "working";
}

static json_t *result_of(int steps)
{
    char text[64];
    snprintf(text, sizeof text, "%d %s took %d s", steps, steps == 1 ? "step" : "steps", steps);
    return json_pack("{s:i, s:s}", "steps", steps, "text", text);
}

void demo_steps_run(struct task_ctx *ctx)
{
    int steps = (int)task_arg_int(ctx, "seconds", 1);
    for (int step = 1; step <= steps; step++) {
        char message[64];
        snprintf(message, sizeof message, "step %d of %d", step, steps);
        task_progress(ctx, (step - 1) * 100 / steps, stage_of(step, steps), message);
        if (!task_sleep_ms(ctx, 1000))
            return;
        task_log(ctx, "%s: done", message);
    }
    task_finish(ctx, result_of(steps));
}
