/* SPDX-License-Identifier: MIT */
/* The worker's parent process: leases heavy tasks from the queue, gives them to its slots, beats for all of
 * them, hears cancels, writes what happens to them. It alone of the worker knows Redis. Main thread. */
#pragma once

#include "hub/config/options.h"

/* Runs until the end of the drain that SIGTERM or SIGINT begin, or until another living worker has its name.
 * Returns the exit code. */
int worker_run(const struct options *options, const char *version);
