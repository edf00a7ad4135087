/* SPDX-License-Identifier: MIT */
/* One slot process seen from the worker's parent: its socket, its gate, its signals and its end. Loop thread.
 * slots.c decides which process gets a job; the functions named lane_* notify it. */
#pragma once

#include "tasks/runner/engine.h"
#include "tasks/runner/slots/gate.h"
#include "tasks/runner/slots/proto.h"

struct lane;
struct prefork;
struct slots;

struct slot_job {   /* a run in this engine */
    struct run run; /* run.place is in the lane's waiting list or in the process' jobs */
    struct lane *lane;
    struct slot_proc *proc; /* NULL while it waits */
    uint32_t seq;           /* its number in its process */
    bool started;
    enum run_stop stop;
    uint64_t since_ms; /* monotonic ms: when it was taken, then when it started */
    uint64_t stop_ms;  /* monotonic ms: when it was asked to stop */
    uint64_t est_us;   /* estimate of its run time */
    unsigned percent;
    unsigned log_lines;
};

enum slot_state {                /* of a process; changed only by slot_become() in proc.c */
                  SLOT_FORKING,  /* requested; pid not known. Jobs may be sent from here on */
                  SLOT_STARTING, /* pid known, greeted */
                  SLOT_SERVING,  /* it sent SLOT_READY */
                  SLOT_UNWANTED, /* to be killed as soon as its pid is known. No more jobs from here on */
                  SLOT_FAILED,   /* ended by itself before it was ready */
                  SLOT_ENDING,   /* killed, or its socket was closed */
};

struct slot_proc {
    struct list node;       /* in its lane's list */
    struct list flush_node; /* in slots.flush while bytes are staged */
    struct slots *slots;
    struct lane *lane;
    const struct task_type *only; /* FRESH: runs one task of this type; NULL = any number */
    unsigned reach;               /* TASK_REACH_… of its tasks */
    pid_t pid;                    /* 0 before the prefork parent has answered and after it was reaped */
    enum slot_state state;
    uint64_t born_ms;
    int socket;
    uv_poll_t *poll;
    struct slot_gate *gate;
    char *directory; /* path of its own directory, which is removed with it */
    struct buf in, out;
    bool blocked;     /* the socket is full */
    struct list jobs; /* struct slot_job, in the order they were sent; the first may run */
    unsigned count;
    uint32_t next_seq;
    uint64_t backlog_us; /* sum of the estimates of its jobs */
    uint32_t begun;      /* slot_gate_begun() at the last look of slot_proc_hurry() */
    uint64_t signalled;  /* signals sent by the kill ladder, one bit each */
};

/* Whether it may get jobs. */
static inline bool slot_proc_usable(const struct slot_proc *proc)
{
    return proc->state <= SLOT_SERVING;
}
/* Requests a process from the prefork parent; NULL if its descriptors cannot be made or the prefork parent is
 * down. It may get jobs at once. */
struct slot_proc *slot_proc_new(struct slots *slots, struct lane *lane, struct prefork *prefork,
                                unsigned reach);
/* Frees it without calling lane_proc_dead(); kills it if it is alive. */
void slot_proc_free(struct slot_proc **proc);
/* Sends the job (staged; see slot_proc_flush()). */
void slot_proc_give(struct slot_proc *proc, struct slot_job *job);
/* Takes back the jobs that have not begun: moves them to the head of `to`, in order. */
void slot_proc_take_back(struct slot_proc *proc, struct list *to);
/* The job that runs as far as this process knows; NULL if none does. */
struct slot_job *slot_proc_running(const struct slot_proc *proc);
/* The job that the slot began last, by its gate; NULL if that has ended. */
struct slot_job *slot_proc_begun(const struct slot_proc *proc);
/* Asks the running job to stop. */
void slot_proc_stop(struct slot_proc *proc, struct slot_job *job, enum run_stop reason);
/* Signals the process and all that it started. */
void slot_proc_signal(struct slot_proc *proc, int number);
/* The buffer to append frames to; marks the process for a flush in this turn. */
struct buf *slot_proc_out(struct slot_proc *proc);
/* Writes what is staged. */
void slot_proc_flush(struct slot_proc *proc);
/* Enforces what depends on time: limits, the kill ladder. now_ms: monotonic. */
void slot_proc_tick(struct slot_proc *proc, uint64_t now_ms);
/* Call every ms while it returns true: asks a slot that may hold back the end of a quick job, and has begun
 * nothing since the last call, to send it. False if the slot cannot hold any. */
bool slot_proc_hurry(struct slot_proc *proc);
/* Reaps the process if it has ended, then reads its last reports and ends its jobs. */
void slot_proc_reap(struct slot_proc *proc);

/* Marks the job as started and reports it to the runner, once. */
void slot_report_started(struct slot_job *job);

/* ---- in slots.c ---- */
const struct engine_config *slots_config(const struct slots *slots);
/* The worker's directory and record of process groups; NULL if it could not be made. */
struct remains *slots_remains(const struct slots *slots);
/* A process may hold ends back from now on: starts the calls of slot_proc_hurry(). */
void slots_start_hurry(struct slots *slots);
/* Bytes are staged for the process: flush it at the end of the turn. */
void slots_want_flush(struct slots *slots, struct slot_proc *proc);
/* The process is ready for the first time. */
void lane_proc_ready(struct slot_proc *proc);
/* A job has left its process; took_us: its run time, 0 = unknown. */
void lane_job_took(struct slot_proc *proc, struct slot_job *job, uint64_t took_us);
/* The process has ended and has no jobs any more; those in `returned` have not begun. Frees the process. */
void lane_proc_dead(struct slot_proc *proc, struct list *returned);
