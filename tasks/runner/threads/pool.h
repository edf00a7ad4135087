/* The bounded pool of threads for light tasks. Jobs staged during a loop turn are handed over under one
 * lock; results and reports come back as lists per wake-up. Everything here on the loop thread, run() of a
 * job on a pool thread. Knows no Redis. */
#pragma once

#include "hub/base/list.h"
#include "hub/base/loop.h"
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"

#include <stdatomic.h>

struct pool;
struct pool_job;

enum pool_report_kind { POOL_STARTED, POOL_PROGRESS, POOL_PARTIAL, POOL_FINAL, POOL_LOG };
struct pool_report { /* what a running job says; borrowed by who receives it */
    struct list node;
    enum pool_report_kind kind;
    struct pool_job *job;
    int percent;               /* POOL_PROGRESS */
    char stage[33];            /* POOL_PROGRESS; "" = none */
    struct span message, meta; /* SPAN_NONE = unchanged; they point into `text` */
    char text[];
};

struct pool_job { /* allocated by the caller; the pool owns it between pool_submit() and done() */
    struct list node;
    const struct task_type *type;
    struct task_ctx ctx;    /* prepared by pool_job_init() */
    _Atomic bool cancelled; /* set by pool_cancel() */
    int64_t started_wall_ms;
    void (*done)(struct pool_job *job); /* loop thread, in no particular order */
    /* the pool's own, under its lock: */
    struct pool_report *held; /* progress not delivered: nobody listens yet, or too soon */
    uint64_t reported_ms;     /* when the last progress was handed over */
    bool listening, running;
};

struct pool_config {
    unsigned threads, max_queued;
    unsigned coalesce_ms; /* shortest time between two progress reports of a job; 0 = all */
    const struct options *options;
    /* task_call() of a job. `args` is borrowed during the call. `reply` must be called once, perhaps
     * before this returns; it takes `answer`. */
    void (*call)(void *ctx, struct pool_job *job, const char *service, const json_t *args,
                 void (*reply)(void *reply_ctx, json_t *answer), void *reply_ctx);
    /* A report of a job that pool_listen() was called for; never after its done(). */
    void (*report)(void *ctx, const struct pool_report *report);
    void *ctx;
};
struct pool *pool_new(struct loop *loop, const struct pool_config *config);
/* Stops accepting; running jobs are told to stop and waited for, waiting ones fail as "interrupted"; all
 * their done() are called. Joins the threads. */
void pool_free(struct pool **pool);

/* Prepares a job; the strings and args_text are borrowed until done(). */
void pool_job_init(struct pool *pool, struct pool_job *job, const struct task_type *type);
/* Stages a job; false if max_queued are waiting already, or the pool is closing. */
bool pool_submit(struct pool *pool, struct pool_job *job) MUSTCHECK;
/* Delivers now what the threads have finished, without waiting for the wake-up that is on its way. */
void pool_poll(struct pool *pool);
/* Jobs waiting or running. */
unsigned pool_load(const struct pool *pool);
/* From now on the job's reports are delivered, POOL_STARTED and the last progress among them if they were
 * before; else only that progress is kept. Not to be called after done(). */
void pool_listen(struct pool *pool, struct pool_job *job);
/* Delivers a progress report that was held back because it came too soon after the last one. */
void pool_collect(struct pool *pool, struct pool_job *job);
/* Whether a thread has begun with the job. Not to be called after done(). */
bool pool_runs(struct pool *pool, struct pool_job *job);
/* task_cancelled() of the job turns true, its sleeps and waits end; one that no thread has begun with fails
 * as "cancelled" instead of running. */
void pool_cancel(struct pool *pool, struct pool_job *job);
