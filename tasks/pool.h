/* The bounded pool of threads for light tasks. Jobs staged during a loop turn are handed over under one
 * lock; results come back as one list per wake-up. Submitting and completion callbacks on the loop
 * thread; run() on pool threads. Knows no Redis. */
#pragma once

#include "hub/list.h"
#include "hub/loop.h"
#include "tasks/ctx.h"
#include "tasks/task_type.h"

#include <stdatomic.h>

struct pool;

struct pool_job { /* allocated by the caller; the pool owns it between pool_submit() and done() */
    struct list node;
    const struct task_type *type;
    struct task_ctx ctx;    /* id, owner, type, attempt, args_text set by the caller */
    _Atomic bool cancelled; /* the loop thread may set it while the job runs */
    int64_t started_wall_ms;
    void (*done)(struct pool_job *job); /* loop thread, in no particular order */
};

struct pool_config {
    unsigned threads, max_queued;
    const struct options *options;
    /* task_call() of a job, on the loop thread. `reply` must be called once, from any later turn. */
    void (*call)(void *ctx, struct pool_job *job, const char *service, json_t *args,
                 void (*reply)(void *reply_ctx, json_t *answer), void *reply_ctx);
    void *ctx;
};
struct pool *pool_new(struct loop *loop, const struct pool_config *config);
/* Stops accepting, waits for running jobs (their done() is still called), joins the threads. */
void pool_free(struct pool **pool);
/* Stages a job; false if max_queued are waiting already. */
bool pool_submit(struct pool *pool, struct pool_job *job) MUSTCHECK;
/* Jobs waiting or running. */
unsigned pool_load(const struct pool *pool);
