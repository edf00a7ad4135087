/* SPDX-License-Identifier: MIT */
/* Events: the table of types, counted references; see event.h. Loop thread
 * only (the worker builds none). Never looks into a body. */
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
        abort(); /* the caller's mistake: what comes from outside was checked */
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
