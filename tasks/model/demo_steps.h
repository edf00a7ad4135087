/* SPDX-License-Identifier: MIT */
/* The work of the types demo_steps (light) and demo_steps_heavy: a second a step that can be watched. One
 * thread per run. */
#pragma once

#include "tasks/model/task_type.h"

#define DEMO_SECONDS_MAX 60

extern const struct json_field demo_steps_args[1]; /* seconds: 1 to DEMO_SECONDS_MAX, required */

/* run() of both types: sleeps for `seconds`; each second a step of progress with stage and message, and a log
 * line. Ends by a result; returns within a moment when the task is cancelled. */
void demo_steps_run(struct task_ctx *ctx);
