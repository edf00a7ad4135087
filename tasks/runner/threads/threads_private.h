/* SPDX-License-Identifier: MIT */
/* The inside of the pool, shared by its two files: threads.c (which job runs when, and on which thread) and
 * reports.c (what a running job may do). */
#pragma once

#include "tasks/model/ctx.h"
#include "tasks/runner/threads/threads.h"

#include <pthread.h>

struct crossing { /* where the threads of the pool and the loop's meet */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* for jobs that wait: cancelled, answered, room for a report, closing */
    uv_async_t *async;   /* wakes the loop */
    bool notified;       /* under the lock: the loop thread knows that there is something for it */
    _Atomic bool closing;
};

struct reports { /* reports.c's own, but for `count` */
    struct crossing *crossing;
    const struct engine_hooks *hooks;
    unsigned coalesce_ms;  /* shortest time between two progress reports of a job; 0 = all */
    struct list listening; /* loop thread: jobs whose reports are delivered */
    uv_timer_t *collect;   /* passes on progress that came too soon after the last one */
    /* under the lock: */
    struct list sent; /* for the loop thread */
    size_t count;     /* of those */
};

struct report;
struct job {
    struct run run;    /* in the lists of a lane or the pool by its `place` */
    bool slow;         /* loop thread: it held its thread for too long */
    enum run_stop why; /* loop thread */
    _Atomic bool cancelled;
    struct reports *reports;
    struct list listen_node; /* of reports.listening, while `listening` */
    /* under the lock: */
    bool listening, running;
    struct report *kept;  /* progress not delivered: nobody listens yet, or too soon */
    uint64_t reported_ms; /* when the last progress was handed over */
    uint32_t call;        /* number of its newest call */
    bool answered;
    char *answer; /* of that call, until it takes it */

    struct task_ctx ctx; /* not cleared with the rest */
};

/* ---- threads.c ---- */
/* With the lock held: there is something for the loop thread. The result says whether it must be woken, after
 * unlocking. */
static inline bool crossing_put(struct crossing *crossing)
{
    bool must = !crossing->notified;
    crossing->notified = true;
    return must;
}
/* The domain database of the thread that calls. */
struct db *thread_db(struct task_ctx *ctx);

/* ---- reports.c ---- */
extern const struct task_ctx_ops job_ctx_ops;
void reports_open(struct reports *reports, struct crossing *crossing, const struct engine_config *config);
/* Nothing is on its way any more. */
void reports_close(struct reports *reports);
/* With the lock held: moves what is on its way to the end of `to`. */
void reports_take(struct reports *reports, struct list *to);
/* Calls the hooks for what was taken, and frees it. */
void reports_deliver(struct reports *reports, struct list *taken);
/* From now on what this job says is delivered. With the lock held, or before a thread can have it. */
void reports_listen(struct job *job);
/* It has ended: what is kept is old. */
void reports_forget(struct job *job);
/* On the job's thread: it begins. */
void report_started(struct job *job);
/* Those of the engine. */
void job_listen(void *engine, struct run *run);
void job_answer(void *engine, struct run *run, uint32_t call, struct span json);
