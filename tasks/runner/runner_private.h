/* SPDX-License-Identifier: MIT */
/* The inside of the runner, shared by its two files: run.c (what becomes of a run) and runner.c (leases,
 * life). Loop thread. */
#pragma once

#include "tasks/runner/runner.h"

#define EARLY 32             /* cancels remembered */
#define STREAM_WINDOW 262144 /* bytes of a stream in an engine that the task has not read */

struct running_engine {
    const struct engine *table;
    void *self;
    size_t holder_at; /* where the holder's part begins in an object */
    struct list spare;
    unsigned spare_count;
};

enum lane_state {
    LANE_QUIET,  /* the last lease found less than it asked for */
    LANE_HUNGRY, /* there may be something to lease */
    LANE_ASKING,
    LANE_RANG, /* asking, and the bell rang meanwhile */
};
struct run_lane {
    struct runner *runner;
    struct running_engine *engine;
    unsigned number; /* in the engine */
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
    bool reclaimed; /* what a predecessor held was given back */

    struct table by_id;                  /* the leased ones */
    struct list leased;                  /* RUN_LEASED, RUN_SAYING, RUN_UNSAID: beaten for */
    struct list others;                  /* the others */
    unsigned leased_count, load, active; /* active: before RUN_SAYING */
    uint64_t done;
    struct list questions; /* to services, without an answer yet */
    struct early {         /* a cancel that came before its task */
        char id[ID_SIZE];
        uint64_t at_ms;
    } early[EARLY];
    unsigned early_at;

    uv_timer_t *poll, *due;
    uint64_t beaten_ms;
    enum drain_state drain;
    uint64_t drain_end_ms; /* of patience, then of the grace */
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ---- runner.c ---- */
/* Whether a cancel came for a task that was not held here yet. */
bool runner_was_cancelled(const struct runner *runner, const char *id);

/* ---- run.c ---- */
extern const struct engine_hooks run_hooks;
void run_become(struct run *run, enum run_state to);
/* The leased run of this task. */
struct run *run_find(struct runner *runner, const char *id);
/* Staged for its engine, as a leased one. */
void run_give(struct run *run);
/* It does not run here: ends with this outcome. */
void run_refuse(struct run *run, enum queue_end_kind kind, const char *code, const char *error);
/* The engine's cancel, for one that it has; one that is staged ends or goes back. */
void run_stop(struct run *run, enum run_stop why);
void run_cancel(struct run *run);
/* Redis says that the lease is not ours any more. The run may be freed. */
void run_lose(struct run *run);
void run_free(struct run *run);
/* Tells Redis what it did not take. */
void runs_say_again(struct runner *runner);
/* Reads on where a stream has room. */
void runs_read_streams(struct runner *runner);
/* So many bytes of its stream stand; `ended`: no more will come. */
void run_heard(struct run *run, uint64_t total, bool ended);
/* Ends streams that are slower than real time where they hold more than half of a lane. */
void runs_check_pace(struct runner *runner);
/* At the end: no answer will come any more. */
void runs_forget_questions(struct runner *runner);
