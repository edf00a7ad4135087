/* SPDX-License-Identifier: MIT */
/* Files, directories, the umask; see file.h. */
#include "hub/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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

bool data_dir_make(const char *path, char **ret_reason)
{
    struct stat st;
    char *copy CLEANUP(free_char) = xstrdup(path);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0755) == 0)
            chmod(copy, 0755 & ~file_umask());
        else if (errno != EEXIST)
            break; /* the last mkdir() reports the error */
        *p = '/';
    }
    int error = mkdir(path, 0700) != 0 && errno != EEXIST ? errno : 0;
    if (error == 0 && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
        error = ENOTDIR;
    if (error)
        *ret_reason = xasprintf("data_dir %s: %s", path, strerror(error));
    return error == 0;
}

static int remove_entry(const char *path, const struct stat *about, int type, struct FTW *at)
{
    (void)about;
    (void)type;
    if (at->level > 0)
        remove(path);
    return 0;
}

void directory_clear(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void directory_drop(char **path)
{
    char *gone = *path;
    *path = NULL;
    if (gone && rmdir(gone) != 0) { /* it is usually empty */
        directory_clear(gone);
        rmdir(gone);
    }
    free(gone);
}

#define UMASK_UNKNOWN 010000

static mode_t started_with = UMASK_UNKNOWN;

void file_keep_private(void)
{
    started_with = umask(077);
}

mode_t file_umask(void)
{
    if (started_with == UMASK_UNKNOWN)
        umask(started_with = umask(077)); /* a umask can be read only by setting it */
    return started_with;
}
