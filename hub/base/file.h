/* SPDX-License-Identifier: MIT */
/* Reads whole files, clears directories, and controls who may read the files that the process makes. Blocks.
 * Any thread. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Reads the whole file into `to` and returns its length in bytes; -1 and errno, EFBIG if it has `size` bytes
 * or more. */
ssize_t file_read(const char *path, void *to, size_t size);
/* Makes the data directory with mode 0700 if it is missing, and its parents with the umask that the process
 * was started with. False and *ret_reason (free()), which names the directory. */
bool data_dir_make(const char *path, char **ret_reason) MUSTCHECK;
/* Removes the content of a directory. Follows no links; skips what cannot be removed. */
void directory_clear(const char *path);
/* Removes a directory with its content, frees the path and sets it to NULL; NULL is fine. */
void directory_drop(char **path);
/* Sets the umask to 077, so that other users cannot read files made from now on. Call first: it concerns all
 * threads. */
void file_keep_private(void);
/* The umask that the process was started with. */
mode_t file_umask(void);
