/* SPDX-License-Identifier: MIT */
/* Type demo_steps_heavy: visible work in a process of a worker; see tasks/model/demo_steps.h. */
#include "tasks/model/demo_steps.h"

const struct task_type task_type_demo_steps_heavy = {
    .name = "demo_steps_heavy",
    .title = "Steps of a second that can be watched and cancelled, in a worker",
    .kind = TASK_HEAVY,
    .queue = "default",
    .isolation = TASK_IN_SLOT,
    .args = demo_steps_args,
    .arg_count = NELEMS(demo_steps_args),
    .run = demo_steps_run,
};
