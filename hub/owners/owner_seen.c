/* A short memory of an owner's recent tasks, so that no progress is shown behind a newer one or behind
 * the end of its task. Loop thread. Bounded, the oldest task of a set is forgotten first: it only loses
 * this protection against events that overtook each other by milliseconds. */
#include "hub/owners/owners_private.h"

#define SEEN_SETS 64
#define SEEN_WAYS 4

struct seen_task {
    uint64_t task; /* hash of its id */
    uint64_t rev;
    uint32_t attempt;
    bool ended;
};

struct seen {
    struct seen_set {
        struct seen_task tasks[SEEN_WAYS];
        unsigned oldest;
    } sets[SEEN_SETS];
};

struct seen *seen_new(void)
{
    return xcalloc(1, sizeof(struct seen));
}

static uint64_t hash_of(const char *id) /* FNV-1a */
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * UINT64_C(1099511628211);
    return hash;
}

/* The task's entry, made anew in the place of the set's oldest one if it has none. */
static struct seen_task *entry_of(struct seen *seen, const struct event *event)
{
    uint64_t hash = hash_of(event->task_id);
    struct seen_set *set = &seen->sets[hash % SEEN_SETS];
    for (size_t i = 0; i < SEEN_WAYS; i++)
        if (set->tasks[i].task == hash)
            return &set->tasks[i];
    struct seen_task *task = &set->tasks[set->oldest++ % SEEN_WAYS];
    *task = (struct seen_task){.task = hash};
    return task;
}

bool seen_admit(struct seen *seen, const struct event *event)
{
    struct seen_task *task = entry_of(seen, event);
    if (task->ended || event->attempt < task->attempt)
        return false;
    if (event->attempt == task->attempt && event->rev <= task->rev)
        return false;
    task->attempt = (uint32_t)event->attempt;
    task->rev = event->rev;
    return true;
}

void seen_note(struct seen *seen, const struct event *event)
{
    struct seen_task *task = entry_of(seen, event);
    if (event->attempt > task->attempt) {
        task->attempt = (uint32_t)event->attempt;
        task->rev = 0;
    }
    if (event->type->terminal)
        task->ended = true;
}
