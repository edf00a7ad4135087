/* SPDX-License-Identifier: MIT */
/* The engine `slots`: runs tasks in processes of their own. Decides which task runs where, how many may run,
 * how many are sent ahead, how a task is stopped and a process killed. Two lanes, one per queue, so that bulk
 * work never takes the place of live speech. Loop thread. Does not know Redis. */
#pragma once

#include "tasks/runner/engine.h"

/* At most one per process: its start() makes this process a subreaper. cancel() ends a run that has not begun
 * at once. It asks a running one to stop: STOP_CANCEL also signals it after 1 s and kills it after 1.5 s;
 * STOP_LOST and STOP_DRAIN kill it. */
extern const struct engine slots_engine;
