/* SPDX-License-Identifier: MIT */
/* Whole files, for what is read at start. Blocks. Any thread. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Reads the whole file into `to` and returns its length in bytes; -1 and errno, EFBIG if it has `size` bytes
 * or more. */
ssize_t file_read(const char *path, void *to, size_t size);
