/* SPDX-License-Identifier: MIT */
/* What a worker leaves behind when it is killed: its directory in $TMPDIR, which contains those of its slots,
 * and the process groups of its slots, which contain all that a task starts (hub/base/confine.h). The groups
 * are recorded in a file of the directory, so that others can end them: at once the worker's guard (one of
 * its children), or else the next worker that this user starts. A lock on the directory, which the kernel
 * releases, shows whether its worker is alive. Single-threaded; blocks briefly. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <sys/types.h>

struct remains;

/* Ends what dead workers of this user left behind, then makes a directory. NULL and errno if that fails. */
struct remains *remains_new(void);
/* Removes the directory and frees the object; NULL is fine. Kill the groups first. */
void remains_free(struct remains **remains);
/* The path of the directory; borrowed. */
const char *remains_directory(const struct remains *remains);
/* Records a group by its leader, which must not have started anything yet. False if there are too many. */
bool remains_add(struct remains *remains, pid_t leader) MUSTCHECK;
/* Removes a group from the record. Call after the group was killed and before its leader is reaped. */
void remains_remove(struct remains *remains, pid_t leader);

/* The guard: blocks until the worker of that directory is dead, kills its groups and removes the
 * directory. */
void remains_guard(const char *directory);
