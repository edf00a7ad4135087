/* The params object of a task.event, built the same way wherever C builds one (the Lua library builds
 * the same text for events that begin there). Any thread; no state. */
#pragma once

#include "hub/base/buf.h"

struct event_body { /* NULL and SPAN_NONE members are left out */
    const char *task_id, *task, *user_id;
    const char *type, *status, *stage;
    int progress;
    unsigned attempt;
    struct span message;           /* plain text */
    struct span message_json;      /* or, instead: a JSON string */
    struct span meta;              /* JSON object */
    bool result_omitted;           /* a result exists, but it is not at hand */
    struct span result;            /* JSON; above RESULT_INLINE_MAX it becomes "result_omitted":true */
    struct span error_code, error; /* plain text */
    struct span error_json;        /* instead of `error`: a JSON string */
    int64_t at_ms;                 /* wall time */
};
#define RESULT_INLINE_MAX 16384

/* Appends '{"task_id":…,"at":"…"}'. */
void event_body_write(struct buf *to, const struct event_body *body);
