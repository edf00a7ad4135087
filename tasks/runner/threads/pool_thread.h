/* Inside of the pool: what its two halves share, pool.c (lists, threads, the loop's side) and pool_ctx.c
 * (what a job may do). Nothing else includes this. */
#pragma once

#include "tasks/runner/threads/pool.h"

#include <pthread.h>

#define POOL_REPORTS_MAX 1024 /* on their way to the loop; beyond, progress is held and the rest waits */

struct pool_call {     /* one task_call(): the job waits, the loop thread answers */
    struct list node;  /* in pool.calls, then pool.asked */
    struct pool *pool; /* NULL once the pool is gone; loop thread after hand-over */
    struct pool_job *job;
    char *service;
    json_t *args, *answer;
    bool answered; /* the loop's half is done with it */
    bool left;     /* the job's half is */
};

struct pool {
    struct loop *loop;
    struct pool_config config;
    struct list staged; /* loop thread: jobs of this turn */
    size_t staged_count;
    unsigned load;     /* loop thread: jobs between pool_submit() and done() */
    struct list asked; /* loop thread: calls handed to pool_config.call and not answered */
    uv_async_t *async; /* wakes the loop; closes and frees itself */

    pthread_mutex_t lock; /* protects everything below */
    pthread_cond_t work;  /* a job waits, or the pool closes */
    pthread_cond_t wake;  /* for jobs that wait: cancelled, answered, room for a report, closing */
    struct list ready;    /* jobs for the threads */
    size_t ready_count;
    struct list done, reports, calls; /* for the loop thread */
    size_t report_count;
    bool told; /* the loop thread knows that there is something for it */
    unsigned idle;
    _Atomic bool closing;

    unsigned thread_count;
    struct pool_thread {
        struct pool *pool;
        pthread_t id;
        struct db *db; /* the thread's own, opened on first use */
    } threads[];
};

extern _Thread_local struct pool_thread *pool_self; /* NULL outside of a pool thread */
extern const struct task_ctx_ops pool_ctx_ops;

/* With the lock held: notes that the loop thread has something to fetch; the result says whether
 * pool_tell() must be called, after unlocking. */
bool pool_must_tell(struct pool *pool);
void pool_tell(struct pool *pool);
/* On the job's thread: says that it begins. */
void pool_report_started(struct pool_job *job);
/* The loop's half answers a call; takes `answer`. */
void pool_call_answer(void *call, json_t *answer);
void pool_call_free(struct pool_call *call);
