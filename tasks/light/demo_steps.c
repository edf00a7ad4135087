/* SPDX-License-Identifier: MIT */
/* Type demo_steps: visible work on a thread of the hub; see tasks/model/demo_steps.h. */
#include "tasks/model/demo_steps.h"

const struct task_type task_type_demo_steps = {
    .name = "demo_steps",
    .title = "Steps of a second that can be watched and cancelled",
    .kind = TASK_LIGHT,
    .lane = LIGHT_SLOW,
    .repeatable = true,
    .args = demo_steps_args,
    .arg_count = NELEMS(demo_steps_args),
    .run = demo_steps_run,
};
