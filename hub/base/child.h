/* SPDX-License-Identifier: MIT */
/* A child process that lives as long as its parent: started, started again by backoff_process when it dies,
 * stopped in order, killed by the kernel when the parent dies. It has a session of its own, so that Ctrl-C in
 * a terminal reaches the parent alone; its output goes to the parent's stderr; it inherits the listed
 * descriptors only. Loop thread only. */
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
/* Sets a variable; both texts are copied. */
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
    int death_signal; /* what the kernel sends when the parent dies, 0 = nothing */
    /* It runs now; may be NULL if there is no pair. `socket`: our end of the pair, non-blocking, to be closed
     * by the callee; -1 without a pair. */
    void (*on_start)(void *ctx, pid_t pid, int socket);
    /* It died, and is started again unless it is being stopped. May be NULL. */
    void (*on_exit)(void *ctx);
    void *ctx;
};

/* Starts it. Never fails: a start that does counts as a death and is tried again. */
struct child *child_new(struct loop *loop, const struct child_config *config);
/* Says that it does its work: its deaths are counted from zero. After 2 s it counts as ready anyway. */
void child_ready(struct child *child);
/* Returns its pid, 0 while it does not run. */
pid_t child_pid(const struct child *child);
/* Ends it by SIGTERM, after grace_ms by SIGKILL, for good; fn is called when it is gone, perhaps at once. */
void child_stop(struct child *child, unsigned grace_ms, void (*fn)(void *ctx), void *ctx);
/* Kills it if it still runs and frees everything; NULL is fine. Not from on_start or on_exit. */
void child_free(struct child **child);

/* The path of `program` found in PATH (free()), NULL if it is not there. */
char *child_find_program(const char *program);
