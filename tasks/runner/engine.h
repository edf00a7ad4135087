/* SPDX-License-Identifier: MIT */
/* How tasks run: an engine is a const table of functions in a folder of its own under tasks/runner, found by
 * name. It runs the tasks that the runner has staged for it and reports their progress and end by hooks. An
 * engine does not know Redis, writes no record and decides nothing about leases; the runner does
 * (tasks/runner/runner.h). Loop thread. */
#pragma once

#include "hub/auth/principal.h"
#include "hub/base/id.h"
#include "hub/base/list.h"
#include "hub/base/loop.h"
#include "hub/base/table.h"
#include "tasks/model/task_type.h"
#include "tasks/queue/queue.h"

#include <stdatomic.h>

#define RUN_ARGS_INLINE 256 /* bytes; longer arguments are allocated */

enum run_state { /* changed by run_become() in run.c alone; up to RUN_LOST the run is still to end */
                 RUN_NEW,
                 RUN_FIRST,      /* with the engine or staged for it, without a record */
                 RUN_DONE,       /* it ran, or there was no room; without a record: whoever made it decides */
                 RUN_LEASED,     /* with the engine or staged for it, leased to this process */
                 RUN_LOST,       /* with the engine; its reports are dropped */
                 RUN_REPORTING,  /* the call that reports its end or return is under way */
                 RUN_UNREPORTED, /* that call got no answer: it is repeated */
                 RUN_FINISHED,   /* only calls under way keep it */
                 RUN_STATES,
};
enum run_begun {
    RUN_STAGED, /* no engine has it yet */
    RUN_WAITS,
    RUN_BEGUN,
    RUN_BEGUN_REPORTED, /* Redis knows, or the call that says so is under way */
};
enum run_stop { /* why a run must stop */
                STOP_NONE,
                STOP_CANCEL,  /* its owner cancelled it: ends as QUEUE_CANCELLED unless it has ended */
                STOP_TIMEOUT, /* over its soft limit; used only inside an engine */
                STOP_LOST,    /* its lease is lost: ends without an outcome */
                STOP_DRAIN,   /* this process ends: stop the run now */
                STOP_RETURN,  /* this process will end: give the run back if it has not begun, else let it go
                                 on */
};

struct run_lane; /* a queue, and the engine that runs its tasks; runner_private.h */

struct run { /* a task that this process holds: the first member of the engine's object; made by run_new() */
    const struct task_type *type; /* never NULL in an engine */
    struct run_lane *lane;
    unsigned attempt;         /* shown to users; retries count it */
    unsigned fence;           /* number of its lease; every write carries it */
    struct span args;         /* a JSON object */
    struct list place;        /* in the staged list, then in a list of its engine */
    _Atomic int64_t began_ms; /* wall time in ms, 0 = not yet; set by an engine, on any thread */

    /* only the runner uses these */
    enum run_state state;
    enum run_begun begun;
    unsigned calls;             /* calls under way that have this object as their context */
    void (*gone)(void *holder); /* runner_hooks.gone */
    struct list node;
    struct table_node by_id;
    struct queue_end end; /* from RUN_DONE on; its spans point into the object or into end_text */
    char *end_text;
    struct list finals;  /* struct final: final pieces and log lines that Redis does not have yet */
    unsigned last_final; /* number of the newest of them */
    struct queue_reported reported;
    uint64_t read, taken; /* bytes of its stream: read from Redis, and read by the task */
    bool reading, read_all;
    struct run_pace {                  /* whether its stream keeps up with real time; pace.c */
        uint64_t since_ms;             /* start of the measured interval; 0 = no byte has come yet */
        uint64_t before, total, grown; /* bytes: at its start, now, and added by the interval before */
        bool ended, slow;
    } pace;
    char *args_text; /* arguments that are longer; malloc(), or NULL */

    char id[ID_SIZE];        /* members from here on are not cleared when the object is reused */
    char effect_id[ID_SIZE]; /* task_effect_id() */
    char owner[OWNER_SIZE];
    char args_inline[RUN_ARGS_INLINE];
};

struct engine_hooks { /* loop thread */
    /* Hands over the next run staged for a lane (engine_config.staged): the engine owns it from now on. It
     * may be leased or not (RUN_FIRST: its reports are not wanted yet). NULL = no more. An engine takes all
     * of them, in a hook of LOOP_STAGE_POOL. */
    struct run *(*next)(struct list *staged);
    /* The run begins. An engine may skip this for a run that ends at once; began_ms then says whether it
     * began. */
    void (*started)(struct run *run);
    /* The run reports. The runner fills in id, attempt, task and the numbers. */
    void (*update)(struct run *run, const struct queue_update *update);
    /* The run asks a service (tasks/queue/services.h) with a JSON object. engine.answer() answers, perhaps
     * before this returns. `call` is the engine's number for the question. */
    void (*call)(struct run *run, uint32_t call, const char *service, struct span args);
    /* The task has read `total` bytes of its stream. */
    void (*audio_taken)(struct run *run, uint64_t total);
    /* The run ended; the runner owns it again. `end` is NULL if there is no outcome (STOP_LOST); its spans
     * point into the run's object or into `text`, which the runner takes (free()) and which may be NULL. */
    void (*ended)(struct run *run, const struct queue_end *end, char *text);
    /* The run did not begin and will not begin here: there is no room, or it was told to stop. The runner
     * owns it again. */
    void (*returned)(struct run *run);
};

struct engine_config {
    struct loop *loop;
    const struct options *options;
    const struct engine_hooks *hooks;
    struct list *staged; /* one list per lane, for hooks.next */
};

struct engine_health {    /* of a lane */
    unsigned busy, total; /* how many tasks run, and how many can */
    unsigned load;        /* tasks that run or wait */
};

struct engine {
    const char *name;          /* name used by routes and tests */
    size_t run_size;           /* bytes of its object for a run, whose first member is a struct run */
    const char *const *queues; /* NULL-ended: the queues it serves, one lane each, numbered from 0 */
    void *(*start)(const struct engine_config *config);
    /* Ends what runs and waits for it. Calls hooks only before it returns. */
    void (*stop)(void *self);
    /* How many more tasks the lane can use now. */
    unsigned (*room)(void *self, unsigned lane);
    /* A run that has not begun ends (or returns) now or soon; a running one is asked to stop or killed, as
     * `why` says. Does nothing for a run that is already stopping. */
    void (*cancel)(void *self, struct run *run, enum run_stop why);
    void (*health)(const void *self, unsigned lane, struct engine_health *ret);
    /* Answers hooks.call with JSON; SPAN_NONE = refused. */
    void (*answer)(void *self, struct run *run, uint32_t call, struct span json);

    /* Optional functions; NULL if there is nothing to do. */
    /* Delivers bytes of the stream of a run that has begun; `last`: no more will come. */
    void (*audio)(void *self, struct run *run, struct span bytes, bool last);
    /* A run that was handed over as RUN_FIRST is recorded now: report for it from here on. */
    void (*listen)(void *self, struct run *run);
    /* Calls the hooks for runs that have ended, without waiting for the loop. */
    void (*poll)(void *self);
};
