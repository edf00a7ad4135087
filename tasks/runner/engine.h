/* SPDX-License-Identifier: MIT */
/* How tasks run: an engine is a const table of functions in a folder of its own under tasks/runner, found by
 * name. It takes the tasks that the runner has staged for it and says by hooks what becomes of them. An
 * engine knows no Redis, writes no record and decides nothing about leases: that is the runner
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

#define RUN_ARGS_INLINE 256 /* arguments up to this size live in the object */

enum run_state { /* changed by run_become() in runner.c alone; up to RUN_LOST there is something to wait for
                  */
                 RUN_NEW,
                 RUN_FIRST,  /* with the engine or staged for it, not recorded */
                 RUN_DONE,   /* it ran or there was no room, not recorded: whoever made it decides */
                 RUN_LEASED, /* with the engine or staged for it, leased to this process */
                 RUN_LOST,   /* with the engine; what it still says is dropped */
                 RUN_SAYING, /* its end or its return is on the way to Redis */
                 RUN_UNSAID, /* Redis did not take it: said again */
                 RUN_OVER,   /* nothing is left but calls under way */
                 RUN_STATES,
};
enum run_begun {
    RUN_STAGED, /* no engine has it yet */
    RUN_WAITS,
    RUN_BEGUN,
    RUN_BEGUN_SAID, /* Redis knows, or is being told */
};
enum run_stop { /* why a run shall stop */
                STOP_NONE,
                STOP_CANCEL,  /* its owner cancelled it: ends as QUEUE_CANCELLED unless it ended already */
                STOP_TIMEOUT, /* over its soft limit: an engine's own reason */
                STOP_LOST,    /* its lease went to somebody else: ends without an outcome */
                STOP_DRAIN,   /* the process ends: stop it now */
                STOP_RETURN,  /* the process will end: give it back if it has not begun, else go on */
};

struct run_lane; /* a queue and the room for its tasks in an engine; runner.c */

struct run { /* a task that this process holds: the head of the engine's object, made by run_new() */
    const struct task_type *type; /* no engine gets a run without one */
    struct run_lane *lane;
    unsigned attempt;         /* what people see */
    unsigned fence;           /* of its lease: every write says it */
    struct span args;         /* a JSON object */
    struct list place;        /* among the staged, then in whatever list of its engine */
    _Atomic int64_t began_ms; /* wall time, 0 = not yet; set by an engine, on any thread */

    /* the runner's own */
    enum run_state state;
    enum run_begun begun;
    unsigned calls;             /* under way, with this object as their context */
    void (*gone)(void *holder); /* runner_hooks.gone */
    struct list node;
    struct table_node by_id;
    struct queue_end end; /* from RUN_DONE on; its spans point into the object or into end_text */
    char *end_text;
    struct list finals; /* pieces that Redis does not have yet */
    unsigned numbered;  /* the last one's number */
    struct queue_reported reported;
    uint64_t read, taken; /* bytes of its stream: read from Redis, and of them read by the task */
    bool reading, read_all;
    struct run_pace {                  /* whether its stream keeps real time; pace.c */
        uint64_t since_ms;             /* the span of time that is measured; 0 = nothing was read yet */
        uint64_t before, total, grown; /* bytes: at its beginning, now, and in the span before */
        bool ended, slow;
    } pace;
    char *args_text; /* NULL, or malloc() */

    char id[ID_SIZE];        /* from here on not cleared when the object is used again */
    char effect_id[ID_SIZE]; /* task_effect_id() */
    char owner[OWNER_SIZE];
    char args_inline[RUN_ARGS_INLINE];
};

struct engine_hooks { /* loop thread */
    /* The next run that is staged for a lane (engine_config.staged): it is the engine's now. It may be leased
     * or not (RUN_FIRST: its reports are not wanted yet). NULL = no more. An engine takes all of them, in a
     * hook of LOOP_STAGE_POOL. */
    struct run *(*next)(struct list *staged);
    /* It begins. May be left out for one that ends at once (then began_ms says whether it began). */
    void (*started)(struct run *run);
    /* It reports; id, attempt, task and the numbers are filled in by the runner. */
    void (*update)(struct run *run, const struct queue_update *update);
    /* It asks a service (tasks/queue/services.h) with a JSON object; answered by engine.answer(), perhaps
     * before this returns. `call` is the engine's number for it. */
    void (*call)(struct run *run, uint32_t call, const char *service, struct span args);
    /* So many bytes of its stream the task has read. */
    void (*audio_taken)(struct run *run, uint64_t total);
    /* It ended and is the runner's again. `end` is NULL when there is no outcome (STOP_LOST); its spans point
     * into the run's object or into `text`, which is taken (free()) and may be NULL. */
    void (*ended)(struct run *run, const struct queue_end *end, char *text);
    /* It did not begin and will not here, as there is no room or it was asked to: the runner's again. */
    void (*returned)(struct run *run);
};

struct engine_config {
    struct loop *loop;
    const struct options *options;
    const struct engine_hooks *hooks;
    struct list *staged; /* one per lane: what hooks.next gives */
};

struct engine_health {    /* of a lane */
    unsigned busy, total; /* places where tasks run */
    unsigned load;        /* tasks that run or wait */
};

struct engine {
    const char *name;          /* what routes and tests call it */
    size_t run_size;           /* of its object for a run, whose first member is a struct run */
    const char *const *queues; /* NULL-ended: what it serves, a lane each, numbered from 0 */
    void *(*start)(const struct engine_config *config);
    /* Ends what runs, waits for it; hooks may still be called from inside, not later. */
    void (*stop)(void *self);
    /* How many more tasks the lane can use now. */
    unsigned (*room)(void *self, unsigned lane);
    /* One that has not begun ends (or returns) now or soon, a running one is asked or killed, as `why` says.
     * Harmless for one that is stopping already. */
    void (*cancel)(void *self, struct run *run, enum run_stop why);
    void (*health)(const void *self, unsigned lane, struct engine_health *ret);
    /* Answers hooks.call; SPAN_NONE = refused. */
    void (*answer)(void *self, struct run *run, uint32_t call, struct span json);

    /* Extensions; NULL where there is nothing to do. */
    /* Bytes of the stream of a run that has begun; `last`: no more will come. */
    void (*audio)(void *self, struct run *run, struct span bytes, bool last);
    /* A run that was taken as RUN_FIRST is recorded now: its reports are wanted from here on. */
    void (*listen)(void *self, struct run *run);
    /* Calls the hooks for what has ended already, without waiting for the loop to say so. */
    void (*poll)(void *self);
};
