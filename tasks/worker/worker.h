/* SPDX-License-Identifier: MIT */
/* The worker's parent process: leases heavy tasks from the queue, hands them to its slots, sends their
 * heartbeats, receives cancels, and reports what happens to them. The only part of the worker that knows
 * Redis. Main thread. */
#pragma once

#include "hub/config/options.h"

/* Runs until the drain begun by SIGTERM or SIGINT has ended, or another living worker has its name.
 * Returns the exit code. */
int worker_run(const struct options *options, const char *version);
