/* SPDX-License-Identifier: MIT */
/* Events: the table of types, reference counts, and a memory of recent tasks; see event.h. Loop thread only
 * (the worker makes no events). Never parses a body. */
#include "hub/owners/event.h"

static const struct event_type types[] = {
    {'A', "accepted", EVENT_MUST, false},     {'S', "started", EVENT_BOUNDED, false},
    {'P', "progress", EVENT_LATEST, false},   {'p', "partial", EVENT_LATEST, false},
    {'F', "partial", EVENT_MUST, false},      {'R', "retrying", EVENT_BOUNDED, false},
    {'L', "log", EVENT_BOUNDED, false},       {'C', "completed", EVENT_MUST, true},
    {'X', "failed", EVENT_MUST, true},        {'K', "cancelled", EVENT_MUST, true},
    {'N', "notification", EVENT_MUST, false},
};

_Static_assert(offsetof(struct event, body) == sizeof(struct event), "the body follows at once");

const struct event_type *event_type_by_code(char code)
{
    for (size_t i = 0; i < NELEMS(types); i++)
        if (types[i].code == code)
            return &types[i];
    return NULL;
}

void event_begin(struct buf *to, size_t size)
{
    buf_reserve(to, sizeof(struct event) + size);
    to->len = sizeof(struct event);
}

struct event *event_end(struct buf *body, char code, uint64_t seq, uint64_t rev, uint64_t attempt,
                        struct span task_id)
{
    struct event *event = (void *)body->data;
    const struct event_type *type = event_type_by_code(code);
    if (type == NULL || task_id.n >= ID_SIZE)
        abort(); /* a mistake of the caller, since input was checked */
    *event = (struct event){.refs = 1, .type = type, .seq = seq, .rev = rev, .attempt = attempt};
    event->size = body->len - sizeof *event;
    if (task_id.n)
        memcpy(event->task_id, task_id.p, task_id.n);
    *body = BUF_INIT;
    return event;
}

struct event *event_new(char code, uint64_t seq, uint64_t rev, uint64_t attempt, struct span task_id,
                        struct span body)
{
    struct buf to = BUF_INIT;
    event_begin(&to, body.n);
    buf_append_span(&to, body);
    return event_end(&to, code, seq, rev, attempt, task_id);
}

struct event *event_ref(struct event *event)
{
    event->refs++;
    return event;
}

void event_unref(struct event **event)
{
    if (*event && --(*event)->refs == 0)
        free(*event);
    *event = NULL;
}

/* ---- which progress is news ---- */

#define SETS 4096 /* a power of two; SETS × WAYS is more tasks than a hub runs in a second */
#define WAYS 4

struct progress {
    struct set {
        struct task {
            uint64_t hash; /* hash of its id */
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

/* The task's entry; if it has none, a new one replaces the oldest of the set. */
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
    if (event->only || event->task_id[0] == '\0')
        return;
    struct task *task = entry_of(progress, event);
    if (event->attempt > task->attempt) {
        task->attempt = (uint32_t)event->attempt;
        task->rev = 0;
    }
    if (event->type->terminal)
        task->ended = true;
}
