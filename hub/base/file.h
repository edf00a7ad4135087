/* SPDX-License-Identifier: MIT */
/* Whole files, for what is read at start, whole directories, and who may read what the process makes. Blocks.
 * Any thread. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Reads the whole file into `to` and returns its length in bytes; -1 and errno, EFBIG if it has `size` bytes
 * or more. */
ssize_t file_read(const char *path, void *to, size_t size);
/* Makes the data directory if it is missing, with mode 0700, and those above it, as the mask says that the
 * process was started with. False and *ret_reason (free()), naming the directory. */
bool data_dir_make(const char *path, char **ret_reason) MUSTCHECK;
/* Removes what lies in a directory. Follows no links; what cannot be removed stays. */
void directory_clear(const char *path);
/* Removes it, too, frees the path and makes it NULL; NULL is fine. */
void directory_drop(char **path);
/* What the process makes from now on, others may not read. Call first of all: it concerns all threads. */
void file_keep_private(void);
/* The file mode creation mask that the process was started with. */
mode_t file_umask(void);
