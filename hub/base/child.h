/* SPDX-License-Identifier: MIT */
/* A child process that lives as long as its parent: it is restarted by backoff_process when it dies, stopped
 * in order, and killed by the kernel when the parent dies. It has a session of its own, so that Ctrl-C in a
 * terminal reaches only the parent; its output goes to the parent's stderr; it inherits only the listed
 * descriptors. Loop thread only. */
#pragma once

#include "hub/base/loop.h"

#include <stdbool.h>
#include <sys/types.h>

#define CHILD_INHERIT_MAX 2

/* Environment variables; all zero = none. */
struct child_env {
    char *lines; /* an envz vector, see envz_add(3); free() */
    size_t size;
};
/* Sets a variable; both texts are copied. */
void child_env_add(struct child_env *env, const char *name, const char *value);

struct child;
struct child_config { /* texts are copied */
    const char *name;
    const char *program;            /* its path; NULL = argv[0] */
    const char *const *argv;        /* NULL-ended */
    struct child_env environment;   /* added to the environment; replaces variables of the same name */
    bool bare;                      /* the child gets no other variables */
    const char *directory;          /* working directory, NULL = unchanged */
    int inherit[CHILD_INHERIT_MAX]; /* descriptors that stay open in the child, with the same numbers */
    size_t inherit_count;
    int socket;       /* descriptor number of its end of a new SOCK_SEQPACKET pair, 0 = no pair */
    int death_signal; /* signal from the kernel when the parent dies, 0 = none */
    /* The child runs; may be NULL if there is no pair. `socket`: the parent's end of the pair, non-blocking,
     * to be closed by the callee; -1 without a pair. */
    void (*on_start)(void *ctx, pid_t pid, int socket);
    /* The child died, and is restarted unless it is being stopped. May be NULL. */
    void (*on_exit)(void *ctx);
    void *ctx;
};

/* Starts the child. Never fails: a failed start counts as a death and is tried again. Free with
 * child_free(). */
struct child *child_new(struct loop *loop, const struct child_config *config);
/* Call when the child works: its back-off starts from zero again. After 2 s it counts as ready anyway. */
void child_ready(struct child *child);
/* Returns its pid, 0 while it does not run. */
pid_t child_pid(const struct child *child);
/* Ends the child for good by SIGTERM, after grace_ms by SIGKILL; calls fn when it is gone, perhaps before
 * this returns. */
void child_stop(struct child *child, unsigned grace_ms, void (*fn)(void *ctx), void *ctx);
/* Kills the child if it still runs and frees everything; NULL is fine. Do not call from on_start or
 * on_exit. */
void child_free(struct child **child);

/* Finds `program` in PATH; returns its path (free()), NULL if it is not there. */
char *child_find_program(const char *program);
