/* SPDX-License-Identifier: MIT */
/* The inside of the pool, shared by its two files: threads.c (which job runs when, and on which thread) and
 * reports.c (what a running job may do). */
#pragma once

#include "tasks/model/ctx.h"
#include "tasks/runner/threads/threads.h"

#include <pthread.h>

struct crossing { /* shared by the threads of the pool and the loop thread */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* wakes jobs that wait: cancelled, answered, room for a report, closing */
    uv_async_t *async;   /* wakes the loop */
    bool notified;       /* under the lock: the loop thread has been woken and has not looked yet */
    _Atomic bool closing;
};

struct reports { /* only reports.c uses this, except `count` */
    struct crossing *crossing;
    const struct engine_hooks *hooks;
    unsigned coalesce_ms;  /* shortest time between two progress reports of a job; 0 = none */
    struct list listening; /* loop thread: jobs whose reports are delivered */
    uv_timer_t *collect;   /* delivers kept progress when it is due */
    /* guarded by the lock: */
    struct list sent; /* reports for the loop thread */
    size_t count;     /* how many */
};

struct report;
struct job {
    struct run run;    /* run.place is in a list of a lane or of the pool */
    bool slow;         /* loop thread: it held its thread for too long */
    enum run_stop why; /* loop thread */
    _Atomic bool cancelled;
    struct reports *reports;
    struct list listen_node; /* in reports.listening while `listening` */
    /* guarded by the lock: */
    bool listening, running;
    struct report *kept;  /* progress not delivered: the run is not recorded yet, or it came too soon */
    uint64_t reported_ms; /* monotonic: when progress was last handed over */
    uint32_t call;        /* number of the newest call */
    bool answered;
    char *answer; /* of that call; malloc(), until the job takes it */

    struct task_ctx ctx; /* not cleared with the other members */
};

/* ---- threads.c ---- */
/* Notes that there is something for the loop thread. With the lock held; returns whether it must be woken,
 * after unlocking. */
static inline bool crossing_put(struct crossing *crossing)
{
    bool must = !crossing->notified;
    crossing->notified = true;
    return must;
}
/* The domain database of the calling pool thread, opened on first use; NULL if that fails. */
struct db *thread_db(struct task_ctx *ctx);

/* ---- reports.c ---- */
extern const struct task_ctx_ops job_ctx_ops;
void reports_open(struct reports *reports, struct crossing *crossing, const struct engine_config *config);
/* Call when no report is under way any more. */
void reports_close(struct reports *reports);
/* Moves the reports that are under way to the end of `to`. With the lock held. */
void reports_take(struct reports *reports, struct list *to);
/* Calls the hooks for the reports in `taken`, and frees them. Loop thread, without the lock. */
void reports_deliver(struct reports *reports, struct list *taken);
/* Delivers the job's reports from now on. With the lock held, or before a thread can have the job. */
void reports_listen(struct job *job);
/* The job has ended: drops the progress that was kept. */
void reports_forget(struct job *job);
/* Reports that the job begins. On the job's thread. */
void report_started(struct job *job);
/* engine.listen and engine.answer of this engine. */
void job_listen(void *engine, struct run *run);
void job_answer(void *engine, struct run *run, uint32_t call, struct span json);
