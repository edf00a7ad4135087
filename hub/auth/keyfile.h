/* SPDX-License-Identifier: MIT */
/* The key file of a data directory: made once, by the hub that starts there first. Any thread, at start. */
#pragma once

#include "hub/auth/auth.h"
#include "hub/config/options.h"

/* Loads the key ring that the options name: jwt.key_file, or DATA/jwt.key, which it creates with a random
 * secret (mode 0600) when it is missing. Safe when several processes do so at once. NULL and *ret_reason
 * (free()). */
struct keyring *keyfile_load(const struct options *options, char **ret_reason);
/* Whether that would create one: for commands that must not, as no hub knows a key made in a wrong directory.
 * Then *ret_reason (free()). */
bool keyfile_missing(const struct options *options, char **ret_reason) MUSTCHECK;
