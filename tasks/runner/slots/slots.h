/* The slot processes of a worker, seen from its parent: which task runs where, how many may run, what waits
 * in a slot's socket, how a task is stopped and a process killed. Two lanes, one per queue, so that bulk
 * work never takes the place of live speech. Loop thread. Knows no Redis: what happens to a task is told
 * by hooks, in the words of tasks/queue/queue.h. */
#pragma once

#include "hub/base/list.h"
#include "hub/base/loop.h"
#include "tasks/model/task_type.h"
#include "tasks/queue/queue.h"
#include "tasks/runner/engine.h"
#include "tasks/runner/slots/gate.h"

enum slot_lane { LANE_DEFAULT, LANE_LIVE, LANES };
extern const char *const slot_lane_names[LANES]; /* the names of the queues */

extern const struct engine slots_engine;

struct slots;
struct slot_proc; /* one process */

struct slot_job { /* one leased task; allocated by the holder, who fills in the first part */
    const struct task_type *type;
    const char *id, *owner;
    unsigned fence, attempt;
    struct span args;

    /* of the slots */
    struct list node;       /* in the lane's waiting list or the process' jobs */
    struct slot_proc *proc; /* NULL while it waits */
    uint32_t seq;           /* its number in the process */
    bool started;
    enum run_stop stop;
    uint64_t since_ms; /* when it was given, then when it started */
    uint64_t stop_ms;  /* when it was asked to stop */
    uint64_t est_us;   /* how long its type usually takes */
    unsigned percent;
    unsigned log_lines;
};

struct slots_hooks {
    void (*started)(struct slot_job *job);
    void (*update)(struct slot_job *job, const struct queue_update *update);
    /* A question to a service; answer by slots_answer(). */
    void (*call)(struct slot_job *job, uint32_t call, const char *service, struct span args);
    /* Bytes of its stream the task has read. */
    void (*audio_taken)(struct slot_job *job, uint64_t total);
    /* It ended; the job is the holder's again. `end` is NULL after STOP_LOST: nothing to report. */
    void (*ended)(struct slot_job *job, const struct queue_end *end);
    /* It did not begin and will not here: give it back to the queue. The job is the holder's again. */
    void (*returned)(struct slot_job *job);
};
struct slots_config {
    struct loop *loop;
    const struct options *options;
    struct slots_hooks hooks;
};
/* Starts the prefork parents and one slot of the lane `default`. */
struct slots *slots_new(const struct slots_config *config);
/* Kills whatever is left; hooks are not called any more. */
void slots_free(struct slots **slots);

/* How many more tasks this lane can use now: free processes, and for LANE_DEFAULT what the processes work
 * off within about 50 ms, so that long tasks are never hoarded. */
unsigned slots_room(const struct slots *slots, enum slot_lane lane);
/* Takes a job for the lane of its type's queue; it starts as soon as a process is free. */
void slots_give(struct slots *slots, struct slot_job *job);
/* Stops a job. One that has not begun ends at once (before the function returns). A running one is asked,
 * for STOP_CANCEL by signals after 1 s and 1.5 s; for STOP_LOST and STOP_DRAIN it is killed now. */
void slots_stop(struct slots *slots, struct slot_job *job, enum run_stop reason);
/* Gives back (hook `returned`) everything that has not begun. */
void slots_return_all(struct slots *slots);
/* slots_stop() of everything that runs. */
void slots_stop_all(struct slots *slots, enum run_stop reason);
/* Tasks that run or wait here. */
unsigned slots_jobs(const struct slots *slots);

/* Pushes bytes of the stream to a started job; the holder bounds what is on the way. */
void slots_audio(struct slot_job *job, struct span bytes);
void slots_audio_end(struct slot_job *job);
/* Answers a question; SPAN_NONE = refused. */
void slots_answer(struct slot_job *job, uint32_t call, struct span json);

unsigned slots_busy(const struct slots *slots, enum slot_lane lane);
unsigned slots_total(const struct slots *slots, enum slot_lane lane);
