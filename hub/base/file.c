/* SPDX-License-Identifier: MIT */
/* Reading a file; see file.h. */
#include "hub/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

ssize_t file_read(const char *path, void *to, size_t size)
{
    size_t have = 0;
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (have < size && (n = read(fd, (char *)to + have, size - have)) > 0)
        have += (size_t)n;
    int error = n < 0 ? errno : EFBIG;
    close(fd);
    errno = error;
    return n == 0 ? (ssize_t)have : -1;
}
