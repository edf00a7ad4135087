/* SPDX-License-Identifier: MIT */
/* Whom hub and worker run as: the option `user`. In main(), before there are threads. */
#pragma once

#include "hub/config/options.h"

/* Becomes the configured user, if there is one, who gets the data directory if there was none. `ports`: it
 * may still listen at any port, until user_keep_no_ports(). False and *ret_reason (free()), which names the
 * option: no such user, not root, or the data directory is not his. */
bool run_as(const struct options *options, bool ports, char **ret_reason) MUSTCHECK;
/* What speaks against the user the process has, NULL if nothing does. */
const char *run_as_warn(const struct options *options);
