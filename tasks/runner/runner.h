/* SPDX-License-Identifier: MIT */
/* The runner: leases tasks from the queue, keeps the leases (beat), loses them, passes cancels and audio on
 * to the engines and their reports to Redis, says an end again until Redis has it, gives back, drains. The
 * one place where a process holds tasks, the hub as well as the worker. Decides nothing about the state of a
 * task: every write carries what fences it, and the queue refuses a stale one. Loop thread. */
#pragma once

#include "tasks/runner/engine.h"

struct runner;

struct runner_hooks { /* `holder` is run_holder() */
    /* A RUN_FIRST run ended (run->end, run->began_ms; QUEUE_RETURNED: the engine has no room for it): now
     * RUN_DONE. True: it is recorded as *ret_record
     * says, which is borrowed until `recorded` is told. The holder calls runner_adopt() or runner_drop(), now
     * or later. */
    bool (*done)(void *holder, struct queue_submit *ret_record);
    queue_submitted_fn *recorded; /* ctx: the holder */
    /* The run is about to be freed: the holder's part ends here. NULL = nothing to do. It is run.gone of each
     * new run; a holder whose part has ended already clears that. */
    void (*gone)(void *holder);
    /* Nothing of a predecessor is left and work begins, once. NULL = nothing to do. */
    void (*ready)(void *ctx);
    /* The JSON object that a beat shows to admin.workers. */
    void (*info)(void *ctx, struct buf *to);
};

struct runner_config {
    struct loop *loop;
    const struct options *options;
    struct queue *queue;
    const struct engine *const *engines; /* NULL-ended */
    size_t holder_size;                  /* of run_holder() */
    unsigned poll_ms;                    /* heals lost bells */
    bool beats_idle;                     /* beats without a run, too: listed as a worker */
    struct runner_hooks hooks;
    void *ctx; /* of hooks without a run */
};
struct runner *runner_new(const struct runner_config *config);
/* Stops the engines; ends that they still say are dropped. Call when queue callbacks come no more. */
void runner_free(struct runner **runner);

/* Redis answers and has the library. The first time, what a predecessor of this process held goes back. */
void runner_up(struct runner *runner);
/* It does not answer any more: running tasks go on, what they say is kept. */
void runner_down(struct runner *runner);
/* Work may be waiting in this queue; NULL = in any. */
void runner_bell(struct runner *runner, const char *queue);
/* Cancels a task that is held here; one that is not is remembered for 3 s, in case its lease is still on its
 * way. `fence` 0 = whichever. True if it was found (its end follows). */
bool runner_cancel(struct runner *runner, const char *id, unsigned fence);
/* The stream of this task has more bytes. */
void runner_audio(struct runner *runner, const char *id);
/* Beats now, not only when it is time. */
void runner_beat(struct runner *runner);

/* ---- tasks that are made here -------------------------------------------------------------------- */
/* The lane that serves this queue; NULL if none does. */
struct run_lane *runner_lane(struct runner *runner, const char *queue);
/* A run in RUN_NEW; `owner` (less than OWNER_SIZE bytes) is copied, id and args are the caller's to set. */
struct run *run_new(struct run_lane *lane, const struct task_type *type, struct span owner);
void *run_holder(struct run *run); /* holder_size bytes, zero at first */
/* Copies the arguments; SPAN_NONE = {}. */
void run_set_args(struct run *run, struct span args);
/* Runs it unrecorded: RUN_FIRST, hooks.done follows. */
void runner_run_first(struct run *run);
/* It was recorded and leased to this process: goes on as a leased one (attempt 1), from RUN_NEW, RUN_FIRST or
 * RUN_DONE.
 */
void runner_adopt(struct run *run, unsigned fence);
/* Nothing is to be said about it: stopped if it runs, freed now or when it has ended. */
void runner_drop(struct run *run);

/* ---- figures, end -------------------------------------------------------------------------------- */
uint64_t runner_done(const struct runner *runner);               /* runs that engines ended */
unsigned runner_load(const struct runner *runner);               /* runs held */
struct engine_health runner_health(const struct run_lane *lane); /* of a lane */
void runner_poll(struct runner *runner);                         /* engine.poll of all */
/* Leases no more, gives back what has not begun, and calls fn once when nothing is left, or patience_ms (what
 * runs then is stopped) and a grace for last reports are over. Called again: patience is over now. */
void runner_drain(struct runner *runner, uint64_t patience_ms, void (*fn)(void *ctx), void *ctx);
