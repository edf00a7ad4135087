/* SPDX-License-Identifier: MIT */
/* A prefork parent: a process that stands ready to become slot processes. It is started from the worker's own
 * program with a bare environment and gets the configuration without the address of Redis, so neither it
 * nor any process that comes from it has ever held a credential. There is one for ordinary slots and one
 * for each FRESH type, which ran the type's preload() once.
 *
 * A slot is forked twice: the process in between ends at once, so that the slot becomes the worker's own
 * child (the worker is the subreaper). Therefore the worker itself sees it end, may signal its process
 * group without fear that the number belongs to somebody else by now, and the slots outlive a prefork parent
 * that dies. The slot's parent-death signal then means the worker. The one for ordinary slots outlives a
 * worker that was killed, until it has ended what that left behind (remains.h). Single-threaded. */
#pragma once

#include "hub/base/loop.h"
#include "hub/config/options.h"
#include "tasks/model/task_type.h"

#include <sys/types.h>

/* The program's first argument when it shall be one; the directory of tasks/runner/slots/remains.h follows,
 * then the FRESH type, if there is one. */
#define PREFORK_WORD "prefork"

/* main() of a prefork parent, with what follows the word; gives the exit code: 0 when the worker is gone. */
int prefork_main(char **words);

/* ---- the worker's side, loop thread ---- */
/* Keeps it running (hub/base/child.h) and asks it for slot processes. */
struct prefork;

/* The answer to a request for a slot: its pid, 0 when there will be none. */
typedef void prefork_fork_fn(void *ctx, pid_t pid);

struct prefork_config {
    struct loop *loop;
    const struct options *options;
    const struct task_type *type; /* FRESH; NULL = ordinary slots */
    const char *directory;        /* that of remains.h */
    void (*on_ready)(void *ctx);  /* the prefork parent can fork (again) */
    void *ctx;
};
/* Starts the prefork parent. */
struct prefork *prefork_new(const struct prefork_config *config);
/* Ends it for good; requests get 0 before the function returns. */
void prefork_free(struct prefork **prefork);
/* Of the prefork parent, 0 while there is none. */
pid_t prefork_pid(const struct prefork *prefork);
const struct task_type *prefork_type(const struct prefork *prefork);
/* Whether it can fork now. */
bool prefork_ready(const struct prefork *prefork);
#define PREFORK_FDS 3 /* of a slot: its end of the socketpair, its gate, its directory */
/* Asks for a slot with these descriptors and this reach (tasks/runner/slots/child.h); closes them. fn is
 * called once, later; false (and fn is not called) when the prefork parent is down. */
bool prefork_fork(struct prefork *prefork, const int fds[PREFORK_FDS], unsigned reach, prefork_fork_fn *fn,
                  void *ctx) MUSTCHECK;
/* Whether answers are still to come: until then an unknown child may be a slot. */
bool prefork_forking(const struct prefork *prefork);
