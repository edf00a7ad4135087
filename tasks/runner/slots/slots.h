/* SPDX-License-Identifier: MIT */
/* The engine `slots`: tasks in processes of their own. Which task runs where, how many may run, what waits in
 * a slot's socket, how a task is stopped and a process killed. Two lanes, one per queue, so that bulk work
 * never takes the place of live speech. Loop thread. Knows no Redis. */
#pragma once

#include "tasks/runner/engine.h"

/* One per process: its start() makes this process the one that orphans are given to. A run that has not begun
 * ends within cancel(); a running one is asked, for STOP_CANCEL by signals after 1 s and 1.5 s; for STOP_LOST
 * and STOP_DRAIN it is killed. */
extern const struct engine slots_engine;
