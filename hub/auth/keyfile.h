/* SPDX-License-Identifier: MIT */
/* The key file of a data directory: made once, by the first hub that starts there. Any thread, at start. */
#pragma once

#include "hub/auth/auth.h"
#include "hub/config/options.h"

/* Loads the key ring that the options name: jwt.key_file, or DATA/jwt.key, which it creates with a random
 * secret (mode 0600) when it is missing. Safe when several processes do so at once. NULL and *ret_reason
 * (free()). */
struct keyring *keyfile_load(const struct options *options, char **ret_reason);
/* Whether keyfile_load() would create a file: for commands that must not, since no hub knows a key made in
 * the wrong directory. Then *ret_reason (free()). */
bool keyfile_missing(const struct options *options, char **ret_reason) MUSTCHECK;
