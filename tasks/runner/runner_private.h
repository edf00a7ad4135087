/* SPDX-License-Identifier: MIT */
/* The inside of the runner, shared by its files: run.c (what becomes of a run), runner.c (leases, life) and
 * pace.c (slow streams). Loop thread. */
#pragma once

#include "tasks/runner/runner.h"

#define EARLY_CANCELS 32     /* how many cancels are remembered */
#define STREAM_WINDOW 262144 /* most bytes of a stream that an engine holds unread */

struct running_engine {
    const struct engine *table;
    void *self;
    size_t holder_at; /* offset of the holder's part in an object */
    struct list spare;
    unsigned spare_count;
};

enum lane_state {
    LANE_QUIET,  /* the last lease found less than it asked for */
    LANE_HUNGRY, /* there may be something to lease */
    LANE_ASKING,
    LANE_RANG, /* asking, and the bell has rung meanwhile */
};
struct run_lane {
    struct runner *runner;
    struct running_engine *engine;
    unsigned number; /* its number in the engine */
    const char *queue;
    struct list *staged; /* runs for the engine to take */
    enum lane_state state;
    unsigned asked;
};

enum runner_state { RUNNER_DOWN, RUNNER_MUST_RECLAIM, RUNNER_RECLAIMING, RUNNER_UP };
enum drain_state { DRAIN_NOT, DRAIN_WAITS, DRAIN_STOPPED, DRAIN_OVER };

struct runner {
    struct runner_config config;
    struct running_engine *engines;
    size_t engine_count;
    struct run_lane *lanes;
    struct list *staged; /* one per lane */
    size_t lane_count;
    enum runner_state state;
    bool reclaimed; /* the leases of a predecessor were given back */

    struct table by_id;   /* runs of `leased` */
    struct list leased;   /* RUN_LEASED, RUN_REPORTING, RUN_UNREPORTED: heartbeats renew them */
    struct list unleased; /* all other runs */
    unsigned leased_count, load, active; /* load: all runs; active: those before RUN_REPORTING */
    uint64_t done;
    struct list questions; /* struct question: to services, not yet answered */
    struct early_cancel {  /* a cancel that came before the lease of its task */
        char id[ID_SIZE];
        uint64_t at_ms;
    } early_cancels[EARLY_CANCELS];
    unsigned early_cancel_count;

    uv_timer_t *poll, *due;
    uint64_t beaten_ms;
    enum drain_state drain;
    uint64_t drain_end_ms; /* end of the patience, then of the grace */
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ---- runner.c ---- */
/* Whether a cancel came for this task before it was held here. */
bool runner_was_cancelled(const struct runner *runner, const char *id);

/* ---- run.c ---- */
extern const struct engine_hooks run_hooks;
void run_become(struct run *run, enum run_state to);
/* The leased run of this task; NULL if there is none. */
struct run *run_find(struct runner *runner, const char *id);
/* Stages a leased run for its engine. */
void run_give(struct run *run);
/* Ends a run with this outcome without running it. */
void run_refuse(struct run *run, enum queue_end_kind kind, const char *code, const char *error);
/* Passes the stop to the engine that has the run; one that is only staged ends or returns at once. */
void run_stop(struct run *run, enum run_stop why);
void run_cancel(struct run *run);
/* Redis says that this process does not hold the lease any more. May free the run. */
void run_lose(struct run *run);
void run_free(struct run *run);
/* Repeats the reports that Redis has not taken. */
void runs_report_again(struct runner *runner);
/* Reads more of each stream that has room. */
void runs_read_streams(struct runner *runner);
/* Redis has `total` bytes of its stream; `ended`: no more will come. */
void run_note_stream(struct run *run, uint64_t total, bool ended);
/* Fails the slowest streams of a lane while more than half of its places are held by streams slower than real
 * time. */
void runs_check_pace(struct runner *runner);
/* Frees the questions when no answer can come any more. */
void runs_forget_questions(struct runner *runner);
