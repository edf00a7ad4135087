/* SPDX-License-Identifier: MIT */
/* Creates and loads DATA/jwt.key; see keyfile.h. Any thread, at start. link(2) publishes the complete file
 * under its name, so that nobody reads half a key, and a second process uses the first one's. */
#include "hub/auth/keyfile.h"

#include "hub/base/file.h"
#include "hub/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_BYTES 32

static bool write_secret(int fd)
{
    unsigned char secret[SECRET_BYTES];
    char line[sodium_base64_ENCODED_LEN(SECRET_BYTES, sodium_base64_VARIANT_URLSAFE_NO_PADDING) + 1];
    randombytes_buf(secret, sizeof secret);
    sodium_bin2base64(line, sizeof line, secret, sizeof secret, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    size_t n = strlen(line);
    line[n++] = '\n';
    bool written = write(fd, line, n) == (ssize_t)n && fsync(fd) == 0;
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(line, sizeof line);
    return written;
}

/* Creates the file unless it exists. False and errno. */
static bool create_key_file(const char *path)
{
    if (access(path, F_OK) == 0)
        return true;
    char *draft CLEANUP(free_char) = xasprintf("%s.%ld.new", path, (long)getpid());
    unlink(draft); /* left by a process with this pid that died here */
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool made = write_secret(fd) && link(draft, path) == 0;
    int error = errno;
    close(fd);
    unlink(draft);
    if (made)
        log_info("a signing key was made; hubs with another data directory do not know it", "file", path);
    errno = error;
    return made || error == EEXIST;
}

static char *key_path(const struct options *options)
{
    return *options->jwt_key_file ? xstrdup(options->jwt_key_file)
                                  : xasprintf("%s/jwt.key", options->data_dir);
}

bool keyfile_missing(const struct options *options, char **ret_reason)
{
    char *path CLEANUP(free_char) = key_path(options);
    if (*options->jwt_key_file || access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))
        return false;
    *ret_reason = xasprintf("no key in %s; is this the hub's data directory?", options->data_dir);
    return true;
}

struct keyring *keyfile_load(const struct options *options, char **ret_reason)
{
    char *path CLEANUP(free_char) = key_path(options);
    if (*options->jwt_key_file)
        return keyring_load(path, ret_reason);
    if (!data_dir_make(options->data_dir, ret_reason))
        return NULL;
    if (!create_key_file(path)) {
        *ret_reason = xasprintf("key file %s: %s", path, strerror(errno));
        return NULL;
    }
    return keyring_load(path, ret_reason);
}
