/* SPDX-License-Identifier: MIT */
/* The worker process that a hub with a private Redis starts for itself. Loop thread only. */
#pragma once

#include "hub/base/child.h"
#include "hub/config/options.h"

/* The program: beside this one. NULL and *ret_reason (free()) if it is not there. */
char *private_worker_program(char **ret_reason);
/* Starts it. It gets this hub's configuration, `redis_url` as its Redis and "<hub_name>-worker" as its
 * name (unless one is configured); `descriptor` (-1 = none) is what the URL may lead through. */
struct child *private_worker_new(struct loop *loop, const struct options *options, const char *program,
                                 const char *hub_name, const char *redis_url, int descriptor);
/* SIGTERM, and how long it may take before it is killed. */
unsigned private_worker_grace_ms(const struct options *options);
