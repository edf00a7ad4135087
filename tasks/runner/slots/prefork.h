/* SPDX-License-Identifier: MIT */
/* A prefork parent: a process that slot processes are forked from. It is started from the worker's own
 * program with a bare environment and gets the configuration without the address of Redis, so neither it nor
 * any process forked from it has ever held a credential. There is one for ordinary slots and one for each
 * FRESH type, which has run the type's preload() once. A slot is forked twice: the process in between ends at
 * once, so that the slot becomes a child of the worker (the subreaper). Therefore the worker itself sees the
 * slot end, can signal its process group without the risk that the pid was reused, and keeps its slots when a
 * prefork parent dies. The slot's parent-death signal then refers to the worker. The prefork parent of
 * ordinary slots outlives a worker that was killed until it has ended what the worker left behind
 * (remains.h). Single-threaded. */
#pragma once

#include "hub/base/loop.h"
#include "hub/config/options.h"
#include "tasks/model/task_type.h"

#include <sys/types.h>

/* First argument that makes the program a prefork parent; the directory of tasks/runner/slots/remains.h
 * follows, then the FRESH type, if there is one. */
#define PREFORK_WORD "prefork"

/* main() of a prefork parent; `words` are the arguments after PREFORK_WORD, NULL-ended. Returns the exit
 * code: 0 when the worker is gone, 1 on an error. */
int prefork_main(char **words);

/* ---- the worker's side, loop thread ---- */
/* The worker's handle of a prefork parent: keeps it running (hub/base/child.h) and asks it for slots. */
struct prefork;

/* Answers a request for a slot: its pid, 0 if there will be none. */
typedef void prefork_fork_fn(void *ctx, pid_t pid);

struct prefork_config {
    struct loop *loop;
    const struct options *options;
    const struct task_type *type; /* FRESH; NULL = ordinary slots */
    const char *directory;        /* that of remains.h */
    void (*on_ready)(void *ctx);  /* the prefork parent has become able to fork */
    void *ctx;
};
/* Starts a prefork parent; end it with prefork_free(). Borrows all of `config` but the struct. */
struct prefork *prefork_new(const struct prefork_config *config);
/* Ends it for good; open requests get 0 before this returns. */
void prefork_free(struct prefork **prefork);
/* Its pid, 0 while it does not run. */
pid_t prefork_pid(const struct prefork *prefork);
const struct task_type *prefork_type(const struct prefork *prefork);
/* Whether it can fork now. */
bool prefork_ready(const struct prefork *prefork);
#define PREFORK_FDS 3 /* descriptors of a slot: its end of the socketpair, its gate, its directory */
/* Asks for a slot with these descriptors, which this closes, and this reach (TASK_REACH_…). fn is called
 * once, later; false (and fn is not called) if the prefork parent is down. */
bool prefork_fork(struct prefork *prefork, const int fds[PREFORK_FDS], unsigned reach, prefork_fork_fn *fn,
                  void *ctx) MUSTCHECK;
/* Whether a request is open: until it is answered an unknown child may be a slot. */
bool prefork_forking(const struct prefork *prefork);
