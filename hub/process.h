/* SPDX-License-Identifier: MIT */
/* What a hub arranges with its surroundings: descriptors, its name, the first word to the operator, keys.
 * Main thread; no state. */
#pragma once

#include "hub/auth/auth.h"
#include "hub/config/options.h"

/* Raises the limit of open descriptors as far as limits.connections needs and the system allows. */
void process_raise_descriptors(const struct options *options);

#define PROCESS_NAME_SIZE 96
/* Writes the name of this hub: hub.name, else host, machine and port, of characters that hub.name may have.
 */
void process_name(const struct options *options, const char *address, char name[static PROCESS_NAME_SIZE]);

/* A token (free()) by the rules that the options say, valid from now for so long; NULL: the ring has public
 * keys alone. */
char *process_token(const struct options *options, const struct keyring *ring, const char *user_id,
                    unsigned roles, int64_t ttl_s);
/* Logs that the hub is ready at `address`. Prints the demo link (a token in the fragment, which browsers
 * do not send) when listening on loopback and it was asked for or stdout is a terminal. */
void process_announce(const struct options *options, const struct keyring *ring, const char *address,
                      const char *name);

/* Loads the key file again and replaces *ring. False and a log line if it has a mistake: the old ring stays.
 */
bool process_reload_keys(const struct options *options, struct keyring **ring);
