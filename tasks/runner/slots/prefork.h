/* A zygote: a process that stands ready to become slot processes. It is started from the worker's own
 * program with a bare environment and gets the configuration without the address of Redis, so neither it
 * nor any process that comes from it has ever held a credential. There is one for ordinary slots and one
 * for each FRESH type, which ran the type's preload() once.
 *
 * A slot is forked twice: the process in between ends at once, so that the slot becomes the worker's own
 * child (the worker is the subreaper). Therefore the worker itself sees it end, may signal its process
 * group without fear that the number belongs to somebody else by now, and the slots outlive a zygote that
 * dies. The slot's parent-death signal then means the worker. Single-threaded. */
#pragma once

#include "hub/base/loop.h"
#include "hub/config/options.h"
#include "tasks/model/task_type.h"

#include <sys/types.h>

#define ZYGOTE_WORD "zygote" /* the program's only argument when it shall be one */

/* main() of a zygote; gives the exit code: 0 when the worker is gone. */
int zygote_main(void);

/* ---- the worker's side, loop thread ---- */
/* Starts it, asks it for slot processes, starts it again when it dies: at once, after five deaths in a row
 * before it was ready with a back-off. */
struct nursery;

/* The answer to a request for a slot: its pid, 0 when there will be none. */
typedef void nursery_fork_fn(void *ctx, pid_t pid);

struct nursery_config {
    struct loop *loop;
    const struct options *options;
    const struct task_type *type; /* FRESH; NULL = ordinary slots */
    void (*on_ready)(void *ctx);  /* the zygote can fork (again) */
    void *ctx;
};
/* Starts the zygote. */
struct nursery *nursery_new(const struct nursery_config *config);
/* Ends the zygote for good; requests get 0 before the function returns. */
void nursery_stop(struct nursery *nursery);
/* After nursery_stop(). */
void nursery_free(struct nursery **nursery);
/* Of the zygote, 0 while there is none. */
pid_t nursery_pid(const struct nursery *nursery);
const struct task_type *nursery_type(const struct nursery *nursery);
/* Whether it can fork now. */
bool nursery_ready(const struct nursery *nursery);
/* Asks for a slot with these descriptors, which the nursery closes. fn is called once, later; false (and
 * fn is not called) when the zygote is down. */
bool nursery_fork(struct nursery *nursery, int socket, int page_fd, nursery_fork_fn *fn, void *ctx) MUSTCHECK;
/* Whether answers are still to come: until then an unknown child may be a slot. */
bool nursery_forking(const struct nursery *nursery);
/* A child of this process ended: looks whether it was the zygote. */
void nursery_reap(struct nursery *nursery);
