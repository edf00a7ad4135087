/* SPDX-License-Identifier: MIT */
/* What a worker would leave behind if it were killed: its directory in $TMPDIR, in which those of its slots
 * lie, and the process groups of its slots, in which all that a task starts stays (hub/base/confine.h). The
 * groups stand in a file of the directory, so that whoever outlives the worker can end them: its guard, one
 * of its children, at once; else the next worker of this user that starts. A lock on the directory tells
 * whether its worker lives; the kernel drops it. Single-threaded; blocks for moments. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <sys/types.h>

struct remains;

/* Ends what dead workers of this user left, then makes a directory. NULL and errno if there is no room for
 * it. */
struct remains *remains_new(void);
/* Removes the directory and frees the rest; NULL is fine. The groups have been killed. */
void remains_free(struct remains **remains);
/* Its path. */
const char *remains_directory(const struct remains *remains);
/* Notes a group by its leader, which has started nothing yet. False if there are too many. */
bool remains_add(struct remains *remains, pid_t leader) MUSTCHECK;
/* The group was killed; its leader has not been reaped. */
void remains_remove(struct remains *remains, pid_t leader);

/* The guard: waits until the worker of that directory is dead, kills its groups and removes the directory. */
void remains_guard(const char *directory);
