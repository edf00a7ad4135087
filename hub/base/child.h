/* SPDX-License-Identifier: MIT */
/* A child process that lives as long as the hub: started, started again when it dies, stopped in
 * order, killed by the kernel when the hub dies. Runs in a session of its own, so a terminal's Ctrl-C
 * reaches the hub alone; its output goes to the hub's stderr; no descriptor but the listed ones is
 * inherited. Between deaths it waits by backoff_process. Loop thread only. */
#pragma once

#include "hub/base/loop.h"

#include <stdbool.h>
#include <sys/types.h>

#define CHILD_INHERIT_MAX 2

/* Variables of an environment; all zero has none. */
struct child_env {
    char *lines; /* as envz_add(3) makes them; free() */
    size_t size;
};
void child_env_add(struct child_env *env, const char *name, const char *value);

struct child;
struct child_config { /* texts are copied */
    const char *name;
    const char *program;            /* its path; NULL = argv[0] */
    const char *const *argv;        /* NULL-ended */
    struct child_env environment;   /* is added, or replaces what has the same name */
    bool bare;                      /* it is all that the child gets */
    const char *directory;          /* working directory, NULL = unchanged */
    int inherit[CHILD_INHERIT_MAX]; /* open descriptors that stay open, under their numbers */
    size_t inherit_count;
    int socket;       /* the number under which it finds its end of a new SOCK_SEQPACKET pair, 0 = none */
    int death_signal; /* what the kernel sends when the hub dies, 0 = nothing */
    /* May be NULL: it runs now / it died (it will be started again unless it is being stopped). `socket`: our
     * end of the pair, non-blocking, which the callee closes; -1 without a pair (then there may be no
     * on_start). */
    void (*on_start)(void *ctx, pid_t pid, int socket);
    void (*on_exit)(void *ctx);
    void *ctx;
};

/* Starts it; a failing start counts as a death and is tried again. */
struct child *child_new(struct loop *loop, const struct child_config *config);
/* It does its work: deaths are counted from zero. A child that ran for 2 s counts as ready, too. */
void child_ready(struct child *child);
/* 0 while it does not run. */
pid_t child_pid(const struct child *child);
/* SIGTERM, SIGKILL after grace_ms; fn is called when it is gone, perhaps at once. It is not started again. */
void child_stop(struct child *child, unsigned grace_ms, void (*fn)(void *ctx), void *ctx);
/* Kills it if it still runs and frees everything; NULL is fine. Not from on_start or on_exit. */
void child_free(struct child **child);

/* The path of `program` found in PATH (free()), NULL if it is not there. */
char *child_find_program(const char *program);
