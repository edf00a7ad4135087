/* SPDX-License-Identifier: MIT */
/* One slot process seen from the worker's parent: its socket, its gate, its signals and its end.
 * Loop thread. Which process a job goes to is decided in slots.c, which is told through the functions
 * named lane_*. */
#pragma once

#include "tasks/runner/engine.h"
#include "tasks/runner/slots/gate.h"
#include "tasks/runner/slots/proto.h"

struct lane;
struct prefork;
struct slots;

struct slot_job {   /* a run here */
    struct run run; /* by its `place` in the lane's waiting list or the process' jobs */
    struct lane *lane;
    struct slot_proc *proc; /* NULL while it waits */
    uint32_t seq;           /* its number in the process */
    bool started;
    enum run_stop stop;
    uint64_t since_ms; /* when it was taken, then when it started */
    uint64_t stop_ms;  /* when it was asked to stop */
    uint64_t est_us;   /* how long its type usually takes */
    unsigned percent;
    unsigned log_lines;
};

enum slot_state {                /* of a process; changed by slot_become() in proc.c alone */
                  SLOT_FORKING,  /* asked for; its pid is not known. Jobs may be sent from here on */
                  SLOT_STARTING, /* greeted */
                  SLOT_SERVING,  /* it said that it is ready */
                  SLOT_UNWANTED, /* to be killed when its pid is known. No jobs from here on */
                  SLOT_FAILED,   /* ended by itself before it was ready */
                  SLOT_ENDING,   /* killed, or its socket has ended */
};

struct slot_proc {
    struct list node;       /* of its lane */
    struct list flush_node; /* of slots.flush, while bytes are staged */
    struct slots *slots;
    struct lane *lane;
    const struct task_type *only; /* FRESH: runs one task of this type; NULL = any number */
    unsigned reach;               /* of its tasks, TASK_REACH_… */
    pid_t pid;                    /* 0 until the prefork parent told it, and after it was reaped */
    enum slot_state state;
    uint64_t born_ms;
    int socket;
    uv_poll_t *poll;
    struct slot_gate *gate;
    char *directory; /* its own, removed with it */
    struct buf in, out;
    bool blocked;     /* the socket is full */
    struct list jobs; /* struct slot_job, in the order they were sent; the first may run */
    unsigned count;
    uint32_t next_seq;
    uint64_t backlog_us; /* sum of the estimates of its jobs */
    uint32_t begun;      /* slot_gate_begun() at the last look of slot_proc_hurry() */
    uint64_t signalled;  /* signals of the kill ladder sent: bit per signal */
};

/* Whether it may be given jobs. */
static inline bool slot_proc_usable(const struct slot_proc *proc)
{
    return proc->state <= SLOT_SERVING;
}
/* Asks the prefork parent for a process; NULL if there is not even a socket for it. It may be given jobs at
 * once. */
struct slot_proc *slot_proc_new(struct slots *slots, struct lane *lane, struct prefork *prefork,
                                unsigned reach);
/* Frees it without telling anybody; kills it if it lives. */
void slot_proc_free(struct slot_proc **proc);
/* Sends the job. */
void slot_proc_give(struct slot_proc *proc, struct slot_job *job);
/* Takes back what has not begun: moves it to the head of `to`, in order. */
void slot_proc_take_back(struct slot_proc *proc, struct list *to);
/* The job that runs, NULL if none does (as far as is known). */
struct slot_job *slot_proc_running(const struct slot_proc *proc);
/* The job that it began last, NULL if that has ended. */
struct slot_job *slot_proc_begun(const struct slot_proc *proc);
/* Asks the running job to stop. */
void slot_proc_stop(struct slot_proc *proc, struct slot_job *job, enum run_stop reason);
/* Signals the process and whatever it started. */
void slot_proc_signal(struct slot_proc *proc, int number);
/* Stages bytes of a frame that is about to be written. */
struct buf *slot_proc_out(struct slot_proc *proc);
/* Writes what is staged. */
void slot_proc_flush(struct slot_proc *proc);
/* Looks after time: limits, the kill ladder. */
void slot_proc_tick(struct slot_proc *proc, uint64_t now_ms);
/* To be called every ms while it answers true: a slot that holds back the end of a quick job and has begun
 * nothing since the last look is asked to let it go. False where it can hold none. */
bool slot_proc_hurry(struct slot_proc *proc);
/* Looks whether it has ended; then reads what it left behind and ends its jobs. */
void slot_proc_reap(struct slot_proc *proc);

/* Marks the job as started and tells the holder, once. */
void slot_report_started(struct slot_job *job);

/* ---- in slots.c ---- */
const struct engine_config *slots_config(const struct slots *slots);
/* What holds the directories of the processes and knows their groups; NULL if there is none. */
struct remains *slots_remains(const struct slots *slots);
/* The process may hold ends back from now on: slot_proc_hurry(). */
void slots_start_hurry(struct slots *slots);
/* Bytes are staged for the process: flush at the end of the turn. */
void slots_want_flush(struct slots *slots, struct slot_proc *proc);
/* The process is ready for the first time. */
void lane_proc_ready(struct slot_proc *proc);
/* A job has left its process: what it took, 0 = unknown. */
void lane_job_took(struct slot_proc *proc, struct slot_job *job, uint64_t took_us);
/* The process has ended and its jobs are gone from it; `returned` did not begin. Frees the process. */
void lane_proc_dead(struct slot_proc *proc, struct list *returned);
