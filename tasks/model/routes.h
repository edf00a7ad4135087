/* Whether the configured routes make sense with the task types of this build. At start; no state. */
#pragma once

#include "hub/config/options.h"

/* False and *ret_reason (free()), naming the key: no such type, or a type that needs a process of its own
 * was sent to threads. */
bool routes_check(const struct options *options, char **ret_reason) MUSTCHECK;
