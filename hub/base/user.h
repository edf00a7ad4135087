/* SPDX-License-Identifier: MIT */
/* Users of the system: finding one, becoming one for good, whether root here is root of a machine. Before the
 * process has threads. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <sys/types.h>

struct user {
    uid_t uid;
    gid_t gid;
    char name[64], home[256]; /* "" where the system knows none */
};

/* Finds a user by name or number; a number need not be known. False if there is none of that name. */
bool user_find(const char *name, struct user *ret) MUSTCHECK;
/* Makes root that user, with its groups, HOME, USER and LOGNAME, and without capabilities, except, if
 * `ports`, to listen at ports below 1024. False and errno if that is not permitted. */
bool user_become(const struct user *user, bool ports) MUSTCHECK;
/* Gives the ports up, too. Root keeps what it has. */
void user_keep_no_ports(void);
/* Whether the process is in a container, as the engines tell it: by files below `top` ("" in earnest) and by
 * variables of the environment. */
bool user_in_container(const char *top);
