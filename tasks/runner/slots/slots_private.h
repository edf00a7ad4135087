/* The inside of tasks/runner/slots/slots.h, shared by its two files: slot_lanes.c (which job goes where) and
 * slots.c (the life of the processes, stopping, time). Loop thread. */
#pragma once

#include "tasks/runner/slots/backoff.h"
#include "tasks/runner/slots/nursery.h"
#include "tasks/runner/slots/slot_proc.h"

#define SLOT_AHEAD_US 50000 /* a slot's socket holds at most so much work */

struct lane {
    unsigned capacity; /* tasks that may run at once */
    unsigned prefetch; /* tasks sent ahead per process, at most */
    unsigned want;     /* reusable processes to keep */
    struct list procs; /* struct slot_proc */
    struct list waiting;
    unsigned waiting_count;
    uint64_t took_us; /* moving average over all types */
    struct backoff backoff;
    uint64_t not_before_ms;
};

struct fresh { /* one FRESH type */
    struct nursery *nursery;
    struct slot_proc *spare; /* forked ahead, so that a task need not wait for it */
};

struct slots {
    struct slots_config config;
    struct lane lanes[LANES];
    struct nursery *ordinary;
    struct fresh *fresh;
    size_t fresh_count;
    uint64_t *took_us; /* per task type, in the order of task_type_all(); 0 = never ran */
    struct list flush; /* struct slot_proc with staged bytes */
    uv_signal_t *child;
    uv_timer_t *tick;
    bool closing;
};

struct lane *lane_of(struct slots *slots, const struct task_type *type);
struct fresh *fresh_of(struct slots *slots, const struct task_type *type);
/* Sends waiting jobs to processes, in order; a job that finds no place lets others of the other kind pass. */
void lane_assign(struct slots *slots, struct lane *lane);
/* Puts jobs that came back before those that wait; `back` is empty afterwards. */
void lane_take_back(struct lane *lane, struct list *back);
/* Starts reusable processes until as many live as the lane had use for. */
void lane_keep(struct slots *slots, struct lane *lane);
/* Forks the child that the next task of the type will run in. */
void make_spare(struct slots *slots, struct fresh *fresh);
/* Whether the process is about to be free: what it runs has not proved to be long. */
bool soon_free(const struct slot_proc *proc, uint64_t now_ms);
/* Looks after time while there is work. */
void slots_start_tick(struct slots *slots);
