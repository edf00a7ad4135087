/* SPDX-License-Identifier: MIT */
/* The user that hub and worker run as: the option `user`. In main(), before there are threads. */
#pragma once

#include "hub/config/options.h"

/* Becomes the configured user, if any, who gets the data directory if there was none. `ports`: may still
 * listen on any port until user_keep_no_ports(). False and *ret_reason (free()), which names the option:
 * no such user, not root, or the data directory belongs to somebody else. */
bool run_as(const struct options *options, bool ports, char **ret_reason) MUSTCHECK;
/* Returns a warning about the process's user, NULL if there is none. */
const char *run_as_warn(const struct options *options);
