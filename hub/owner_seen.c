/* A short memory of an owner's recent tasks, so that no progress is shown behind a newer one or behind
 * the end of its task. Loop thread. Direct-mapped and bounded: a task that was forgotten only loses
 * this protection against events that overtook each other by milliseconds. */
#include "hub/owners_private.h"

#define SEEN_TASKS 256

struct seen {
    struct seen_task {
        uint64_t task; /* hash of its id */
        uint64_t rev;
        uint32_t attempt;
        bool ended;
    } tasks[SEEN_TASKS];
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

/* The task's entry, made anew if its place holds another task. */
static struct seen_task *entry_of(struct seen *seen, const struct event *event)
{
    uint64_t hash = hash_of(event->task_id);
    struct seen_task *task = &seen->tasks[hash % SEEN_TASKS];
    if (task->task != hash)
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
