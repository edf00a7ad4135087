/* A short memory of an owner's recent tasks, so that no progress is shown behind a newer one or behind
 * the end of its task. Loop thread. Direct-mapped and bounded: a task that was forgotten only loses
 * this protection against events that overtook each other by milliseconds. */
#include "hub/owners_private.h"

#define SEEN_TASKS 64

struct seen {
    struct seen_task {
        char id[ID_SIZE];
        bool ended;
        uint64_t attempt, rev;
    } tasks[SEEN_TASKS];
};

struct seen *seen_new(void)
{
    return xcalloc(1, sizeof(struct seen));
}

/* The place of a task; it may hold another one. The last characters of an id are random. */
static struct seen_task *place_of(struct seen *seen, const char *id)
{
    size_t n = strlen(id);
    unsigned mix = n < 2 ? 0 : (unsigned)id[n - 1] * 31u + (unsigned)id[n - 2] * 17u;
    return &seen->tasks[mix % SEEN_TASKS];
}

/* The task's entry, made anew if the place holds another task. */
static struct seen_task *entry_of(struct seen *seen, const struct event *event)
{
    struct seen_task *task = place_of(seen, event->task_id);
    if (memcmp(task->id, event->task_id, ID_SIZE) != 0) {
        *task = (struct seen_task){.attempt = 0};
        memcpy(task->id, event->task_id, ID_SIZE);
    }
    return task;
}

bool seen_admit(struct seen *seen, const struct event *event)
{
    struct seen_task *task = entry_of(seen, event);
    if (task->ended || event->attempt < task->attempt)
        return false;
    if (event->attempt == task->attempt && event->rev <= task->rev)
        return false;
    task->attempt = event->attempt;
    task->rev = event->rev;
    return true;
}

void seen_note(struct seen *seen, const struct event *event)
{
    struct seen_task *task = entry_of(seen, event);
    if (event->attempt > task->attempt) {
        task->attempt = event->attempt;
        task->rev = 0;
    }
    if (event->type->terminal)
        task->ended = true;
}
