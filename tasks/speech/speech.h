/* SPDX-License-Identifier: MIT */
/* The speech task: what the type process_speak_audio runs. Only taskhub-worker has these functions. */
#pragma once

struct options;
struct task_ctx;

/* Loads the recogniser in the parent from which the task's children are forked. Returns 0, or -1 (logged). */
int speech_preload(const struct options *options);
/* What the configured engine must be able to reach (TASK_REACH_…). */
unsigned speech_reach(const struct options *options);
/* Runs one task, in a child of that parent: reads its stream, reports partial text, ends it. */
void speech_run(struct task_ctx *ctx);
