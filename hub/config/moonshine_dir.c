/* SPDX-License-Identifier: MIT */
/* The folder of the engine moonshine; see moonshine_dir.h. */
#include "hub/config/moonshine_dir.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

char *moonshine_dir(const struct options *options)
{
    char self[4096];
    if (*options->speech_moonshine_dir)
        return xstrdup(options->speech_moonshine_dir);
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    return xasprintf("%.*s/moonshine", slash ? (int)(slash - self) : 0, self);
}

bool moonshine_try(const struct options *options, char **ret_reason)
{
    char *dir CLEANUP(free_char) = moonshine_dir(options);
    char *library CLEANUP(free_char) = xasprintf("%s/" MOONSHINE_LIBRARY, dir);
    if (access(library, R_OK) != 0) {
        *ret_reason = xasprintf("%s: %s", library, strerror(errno));
        return false;
    }
    int status = -1;
    pid_t child = fork();
    if (child == 0)
        _exit(dlopen(library, RTLD_NOW | RTLD_LOCAL) ? 0 : 1);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status == 0)
        return true;
    *ret_reason = xasprintf("%s: it does not load on this system", library);
    return false;
}
