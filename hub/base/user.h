/* SPDX-License-Identifier: MIT */
/* Users of the system: finds one, becomes one for good, and detects whether root is only root of a container.
 * Call before the process has threads. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <sys/types.h>

struct user {
    uid_t uid;
    gid_t gid;
    char name[64], home[256]; /* "" if the system knows none */
};

/* Finds a user by name or number; an unknown number is fine. False if there is no user of this name. */
bool user_find(const char *name, struct user *ret) MUSTCHECK;
/* Changes from root to the user, with its groups, HOME, USER and LOGNAME, and without capabilities; with
 * `ports` keeps the one to listen at ports below 1024. False and errno if that is not permitted. */
bool user_become(const struct user *user, bool ports) MUSTCHECK;
/* Drops that capability, too. Root keeps what it has. */
void user_keep_no_ports(void);
/* Whether the process is in a container, by the files (below `top`, normally "") and the environment
 * variables that container engines set. */
bool user_in_container(const char *top);
