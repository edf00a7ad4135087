/* SPDX-License-Identifier: MIT */
/* The work of the types demo_steps (light) and demo_steps_heavy: steps of a second, to be watched. On the
 * thread that runs the task. */
#pragma once

#include "tasks/model/task_type.h"

#define DEMO_SECONDS_MAX 60

extern const struct json_field demo_steps_args[1]; /* seconds: 1 to DEMO_SECONDS_MAX, required */

/* run() of both types: sleeps for `seconds`, and each second reports progress with stage and message and
 * writes a log line. Returns at once when the task is cancelled. */
void demo_steps_run(struct task_ctx *ctx);
