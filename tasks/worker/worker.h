/* SPDX-License-Identifier: MIT */
/* The worker's parent process: leases heavy tasks from the queue, gives them to its slots, beats for all of
 * them, hears cancels, writes what happens to them. It alone of the worker knows Redis. Main thread. */
#pragma once

#include "hub/config/options.h"

#define WORKER_NAME_SIZE 96
/* Claims a name that no other worker on this machine uses for the same Redis, for as long as this process
 * lives: worker.name, or the host's name, with a number behind it if that is taken. Waits up to 5 s for a
 * configured name, whose former holder may be ending. False and *ret_reason (free()) when it stays taken. */
bool worker_claim_name(const struct options *options, char name[static WORKER_NAME_SIZE],
                       char **ret_reason) MUSTCHECK;

/* Runs until the end of the drain that SIGTERM or SIGINT begin. Returns the exit code. */
int worker_run(const struct options *options, const char *name, const char *version);
