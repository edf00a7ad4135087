/* SPDX-License-Identifier: MIT */
/* The worker's parent process: leases heavy tasks from the queue, gives them to its slots, beats for all of
 * them, hears cancels, writes what happens to them. Alone in the worker it knows Redis. One thread. */
#pragma once

#include "hub/config/options.h"

/* A name that no other worker on this machine uses for the same Redis, held as long as this process lives:
 * worker.name, or the host's name, with a number behind it if that is taken. A configured name is waited for
 * up to 5 s (its former holder may be ending). False and *ret_reason (free()) when it stays taken. */
#define WORKER_NAME_SIZE 96
bool worker_claim_name(const struct options *options, char name[static WORKER_NAME_SIZE],
                       char **ret_reason) MUSTCHECK;

/* Runs until SIGTERM or SIGINT and the end of the drain; gives the exit code. */
int worker_run(const struct options *options, const char *name, const char *version);
