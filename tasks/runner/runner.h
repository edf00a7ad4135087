/* SPDX-License-Identifier: MIT */
/* The runner: leases tasks from the queue, renews their leases by heartbeats, gives them up when they are
 * lost, passes cancels and audio to the engines and their reports to Redis, repeats the report of an end
 * until Redis has it, gives tasks back, drains. Only the runner holds tasks, in the hub as well as in the
 * worker. It decides nothing about the state of a task: every write carries the lease's fence, and the queue
 * refuses a stale one. Loop thread. */
#pragma once

#include "tasks/runner/engine.h"

struct runner;

struct runner_hooks { /* `holder` is run_holder() */
    /* A RUN_FIRST run ended and is now RUN_DONE; see run->end and run->began_ms (QUEUE_RETURNED: the engine
     * had no room for it). If this returns true, the runner records it as *ret_record says, which stays
     * borrowed until `recorded` is called. The holder calls runner_adopt() or runner_drop(), now or later. */
    bool (*done)(void *holder, struct queue_submit *ret_record);
    queue_submitted_fn *recorded; /* ctx: the holder */
    /* The run is about to be freed, and the holder's part with it. NULL = nothing to do. Copied to run.gone
     * of each new run; a holder that has finished earlier clears that. */
    void (*gone)(void *holder);
    /* The leases of a predecessor were given back and work begins; called once. NULL = nothing to do. */
    void (*ready)(void *ctx);
    /* Appends the JSON object that a heartbeat publishes for admin.workers. */
    void (*info)(void *ctx, struct buf *to);
};

struct runner_config {
    struct loop *loop;
    const struct options *options;
    struct queue *queue;
    const struct engine *const *engines; /* NULL-ended */
    size_t holder_size;                  /* bytes of run_holder() */
    unsigned poll_ms;                    /* leases without a bell this often, in case one was lost */
    bool beats_idle; /* sends heartbeats even while it holds no run, so that it is listed as a worker */
    struct runner_hooks hooks;
    void *ctx; /* context of the hooks that get no holder */
};
struct runner *runner_new(const struct runner_config *config);
/* Stops the engines and drops the ends they report meanwhile. Call when no queue callback can come any more.
 * *runner may be NULL. */
void runner_free(struct runner **runner);

/* Redis answers and has the library. The first time, gives back what a predecessor of this process held. */
void runner_up(struct runner *runner);
/* Redis does not answer any more: running tasks go on, and their reports are kept. */
void runner_down(struct runner *runner);
/* Work may be waiting in this queue; NULL = in any of them. */
void runner_bell(struct runner *runner, const char *queue);
/* Cancels a task that is held here; remembers the cancel of another one for 3 s, in case its lease is under
 * way. `fence` 0 = any. True if the task was found (its end follows). */
bool runner_cancel(struct runner *runner, const char *id, unsigned fence);
/* The stream of this task has more bytes; ignored if the task is not held here. */
void runner_audio(struct runner *runner, const char *id);
/* Sends a heartbeat now instead of when the next one is due. */
void runner_beat(struct runner *runner);

/* ---- tasks that are made here -------------------------------------------------------------------- */
/* The lane that serves this queue, NULL if none does. Owned by the runner. */
struct run_lane *runner_lane(struct runner *runner, const char *queue);
/* Makes a run in RUN_NEW. Copies `owner` (less than OWNER_SIZE bytes); the caller sets id and arguments. */
struct run *run_new(struct run_lane *lane, const struct task_type *type, struct span owner);
void *run_holder(struct run *run); /* the holder's part: holder_size bytes, zero at first */
/* Copies the arguments (a JSON object); SPAN_NONE = {}. */
void run_set_args(struct run *run, struct span args);
/* Runs it before it is recorded: RUN_FIRST; hooks.done follows. */
void runner_run_first(struct run *run);
/* The run was recorded and leased to this process: it continues as a leased one (attempt 1). From RUN_NEW,
 * RUN_FIRST or RUN_DONE. */
void runner_adopt(struct run *run, unsigned fence);
/* Drops a run without a report: stops it if it runs, and frees it now or when it has ended. */
void runner_drop(struct run *run);

/* ---- figures, draining -------------------------------------------------------------------------------- */
uint64_t runner_done(const struct runner *runner); /* runs that engines have ended since the start */
unsigned runner_load(const struct runner *runner); /* runs held */
struct engine_health runner_health(const struct run_lane *lane);
void runner_poll(struct runner *runner); /* calls engine.poll of all engines */
/* Stops leasing and gives back what has not begun. Calls fn once: when nothing is held any more, or when
 * patience_ms (after which running tasks are stopped) and a grace of 1.5 s for last reports are over. A
 * second call ends the patience now. */
void runner_drain(struct runner *runner, uint64_t patience_ms, void (*fn)(void *ctx), void *ctx);
