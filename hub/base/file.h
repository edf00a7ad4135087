/* SPDX-License-Identifier: MIT */
/* Whole files, for what is read at start. Blocks. Any thread. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Reads a file into `to`: how many bytes it has; -1 and errno, EFBIG if these are `size` or more. */
ssize_t file_read(const char *path, void *to, size_t size);
