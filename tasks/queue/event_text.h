/* Events as text: the entry that stands in an owner's log, the line of the feed, which is the entry and what
 * it carries besides, and the params object of a task.event, built the same way wherever C builds one (the
 * Lua library builds the same text for events that begin there). Any thread; no state. */
#pragma once

#include "hub/auth/auth.h"
#include "hub/base/buf.h"
#include "hub/owners/event.h"

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

struct queue_entry { /* "code attempt id time progress task …"; of a running task, "stage" may follow */
    char code;
    unsigned attempt;
    char id[ID_SIZE]; /* "-" of a notification */
    int64_t at_ms;
    int progress;
    char task[65], stage[33];
};

/* False if the text is no entry. */
bool queue_entry_parse(struct span text, struct queue_entry *ret) MUSTCHECK;
/* The members that follow from the entry; they point into it. */
struct event_body queue_entry_body(const struct queue_entry *entry, const char *owner);

struct queue_lines { /* the lines of a message or a reply: "@owner", the owner's lines, "@owner", … */
    struct span rest;
    char owner[USER_ID_MAX + 1]; /* whose line the last one was */
    bool turned;                 /* and whether that is another owner than before */
    struct queue_entry last;     /* of the last event; .code 0 = there is none to continue */
};

/* The next line of an event, absent at the end. */
struct span queue_lines_next(struct queue_lines *lines);

/* The event of the line queue_lines_next() gave, of lines->owner. NULL if it is none of these:
 *   "=seq rev entry[\t<letter><text>…]"
 *   "~rev code time progress[ stage][\t…]", one more progress of the task in the line before
 *   what event_parse() reads.
 * `scratch` is overwritten. */
struct event *queue_line_event(struct queue_lines *lines, struct span line, struct buf *scratch);
