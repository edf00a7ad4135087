/* SPDX-License-Identifier: MIT */
/* The memory of recent tasks; see progress.h. Loop thread. Allocated whole: pages that no task has touched
 * cost nothing. */
#include "hub/owners/progress.h"

#define SETS 4096 /* a power of two; with the ways: more tasks than a hub has within a second */
#define WAYS 4

struct progress {
    struct set {
        struct task {
            uint64_t hash; /* of its id */
            uint64_t rev;
            uint32_t attempt;
            bool ended;
        } tasks[WAYS];
        unsigned oldest;
    } sets[SETS];
};

struct progress *progress_new(void)
{
    return xcalloc(1, sizeof(struct progress));
}

/* The last 16 characters of an id hold its random bits. */
static uint64_t hash_of(const char *id)
{
    uint64_t a, b;
    memcpy(&a, id + ID_SIZE - 17, sizeof a);
    memcpy(&b, id + ID_SIZE - 9, sizeof b);
    uint64_t hash = (a ^ b * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 32;
}

/* The task's entry, made anew in the place of the set's oldest one if it has none. */
static struct task *entry_of(struct progress *progress, const struct event *event)
{
    uint64_t hash = hash_of(event->task_id);
    struct set *set = &progress->sets[hash % SETS];
    for (size_t i = 0; i < WAYS; i++)
        if (set->tasks[i].hash == hash)
            return &set->tasks[i];
    struct task *task = &set->tasks[set->oldest++ % WAYS];
    *task = (struct task){.hash = hash};
    return task;
}

bool progress_admit(struct progress *progress, const struct event *event)
{
    struct task *task = entry_of(progress, event);
    if (task->ended || event->attempt < task->attempt)
        return false;
    if (event->attempt == task->attempt && event->rev <= task->rev)
        return false;
    task->attempt = (uint32_t)event->attempt;
    task->rev = event->rev;
    return true;
}

void progress_note(struct progress *progress, const struct event *event)
{
    if (event->task_id[0] == '\0')
        return;
    struct task *task = entry_of(progress, event);
    if (event->attempt > task->attempt) {
        task->attempt = (uint32_t)event->attempt;
        task->rev = 0;
    }
    if (event->type->terminal)
        task->ended = true;
}
