/* SPDX-License-Identifier: MIT */
/* The name of a worker, held by an abstract unix socket, which is free again the moment its process is gone;
 * see worker.h. */
#include "tasks/worker/worker.h"

#include "hub/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 5000
#define STEP_MS 50
#define NUMBERS 1000

/* FNV-1a (G. Fowler, L. C. Noll, K.-P. Vo). Other versions of the worker must find the same. */
static uint64_t mix(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211ULL;
    return hash;
}

/* Whether the name is ours now. The socket stays open until the process ends. */
static bool hold(const char *name, const struct options *options)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint64_t hash = mix(14695981039346656037ULL, options->redis_url);
    if (strstr(options->redis_url, "/proc/self/")) /* the same text in every process */
        hash = mix(hash, options->data_dir);
    /* The address begins with a NUL: it lives in the kernel, not in a file system. */
    int n = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "taskhub-worker %s %08x", name,
                     (unsigned)(hash ^ hash >> 32));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    if (size <= sizeof address && bind(fd, (struct sockaddr *)&address, size) == 0)
        return true;
    close(fd);
    return false;
}

static bool claim_number(const char *host, const struct options *options, char name[static WORKER_NAME_SIZE])
{
    for (unsigned number = 1; number <= NUMBERS; number++) {
        if (number == 1)
            snprintf(name, WORKER_NAME_SIZE, "%.64s", host);
        else
            snprintf(name, WORKER_NAME_SIZE, "%.64s-%u", host, number);
        if (hold(name, options))
            return true;
    }
    return false;
}

bool worker_claim_name(const struct options *options, char name[static WORKER_NAME_SIZE], char **ret_reason)
{
    char host[65] = "";
    if (*options->worker_name == '\0') {
        if (gethostname(host, sizeof host - 1) < 0 || *host == '\0')
            snprintf(host, sizeof host, "worker");
        options_clean_name(host);
        if (claim_number(host, options, name))
            return true;
        *ret_reason = xstrdup("no free name for this worker; set worker.name");
        return false;
    }
    snprintf(name, WORKER_NAME_SIZE, "%s", options->worker_name);
    for (uint64_t end = clock_mono_ms() + WAIT_MS; !hold(name, options);) {
        if (clock_mono_ms() >= end) {
            *ret_reason = xasprintf(
                "another worker on this machine is called %s; give this one another worker.name", name);
            return false;
        }
        nanosleep(&(struct timespec){0, STEP_MS * 1000000L}, NULL);
    }
    return true;
}
