/* SPDX-License-Identifier: MIT */
/* A private redis-server for unit tests: on a unix socket in a directory of its own, append-only file on,
 * so that it can be killed and started again without losing data. Ends with the test program. */
#pragma once

#include "hub/base/mem.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

struct redis_server {
    char dir[64], socket[96], url[128];
    pid_t pid;
};

/* Starts it (again) in its directory; returns before it listens. */
static inline void redis_server_start(struct redis_server *server)
{
    server->pid = fork();
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (chdir(server->dir) != 0 || freopen("redis.log", "a", stdout) == NULL)
            _exit(127);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", server->socket, "--save", "",
               "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no", (char *)NULL);
        _exit(127);
    }
}

/* False if there is no redis-server on this machine. */
static inline bool redis_server_new(struct redis_server *server)
{
    *server = (struct redis_server){.dir = "/tmp/redis-test-XXXXXX"};
    if (system("command -v redis-server >/dev/null 2>&1") != 0 || mkdtemp(server->dir) == NULL)
        return false;
    snprintf(server->socket, sizeof server->socket, "%s/s", server->dir);
    snprintf(server->url, sizeof server->url, "unix:%s", server->socket);
    redis_server_start(server);
    return true;
}

static inline void redis_server_kill(struct redis_server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    server->pid = 0;
}

static inline void redis_server_free(struct redis_server *server)
{
    char command[128];
    redis_server_kill(server);
    snprintf(command, sizeof command, "rm -rf '%s'", server->dir);
    if (server->dir[0] && system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", server->dir);
}
