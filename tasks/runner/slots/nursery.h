/* The worker's side of one zygote: starts it, asks it for slot processes, starts it again when it dies
 * (at once, after five deaths in a row before it was ready with a back-off). Loop thread. Knows no Redis
 * and no queue. */
#pragma once

#include "hub/base/list.h"
#include "hub/base/loop.h"
#include "tasks/runner/slots/zygote.h"

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
