/* SPDX-License-Identifier: MIT */
/* The worker process that a hub with a private Redis starts for itself. Loop thread only. */
#pragma once

#include "hub/base/child.h"
#include "hub/config/options.h"

/* Returns the path (free()) of the worker's program, which lies beside this one. NULL and *ret_reason
 * (free()) if it is not there. */
char *private_worker_program(char **ret_reason);
/* Returns its name (free()): the configured one, else "<hub_name>-worker". */
char *private_worker_name(const struct options *options, const char *hub_name);
/* Starts it with this hub's configuration, `redis_url` as its Redis and this name. It inherits `descriptor`,
 * through which the URL may lead; -1 = none. */
struct child *private_worker_new(struct loop *loop, const struct options *options, const char *program,
                                 const char *name, const char *redis_url, int descriptor);
/* Returns how many milliseconds it may take after SIGTERM before it is killed. */
unsigned private_worker_grace_ms(const struct options *options);
