/* SPDX-License-Identifier: MIT */
/* Events as text, written and read here alone (the Lua library writes the same lines): the entry of an
 * owner's log, the line of the feed, which is the entry and what the event carries besides, and the JSON of a
 * task.event. Any thread; no state. */
#pragma once

#include "hub/auth/principal.h"
#include "hub/owners/event.h"

/* What is said of a task: "code attempt id time progress task[ stage]" is its entry in the log. Texts are
 * borrowed; the absent ones are left out. */
struct event_text {
    char code; /* of event_type_by_code(); tells the status too */
    unsigned attempt;
    int progress;  /* 0–100 */
    int64_t at_ms; /* wall time */
    struct span id, task, owner;
    struct span stage; /* of a running task; SPAN_NONE = its code's own */
    struct span message, error_code, error;
    struct span meta, result; /* JSON; a result above RESULT_INLINE_MAX becomes "result_omitted":true */
    bool omitted;             /* a result exists, but it is not at hand */
    bool quoted;              /* message and error are JSON strings, else plain text */
};
#define RESULT_INLINE_MAX 16384

/* Reads an entry; its spans point into `entry`. False if it is none; that of a notification has the id "-".
 */
bool event_text_read(struct span entry, struct event_text *ret) MUSTCHECK;

/* The event with its params object '{"task_id":…,"at":"…"}'. */
struct event *event_text_build(const struct event_text *text, uint64_t seq, uint64_t rev);

/* Appends a line of progress or a partial result: whole if `lines` is empty, else as one more of the task in
 * the line before. Message and meta must be quoted and stand on one line. */
void event_text_line(struct buf *lines, const struct event_text *text, uint64_t rev);

/* Texts that stand in a line. A JSON string of plain text, cut after max_bytes; nothing for the absent one.
 */
void text_quoted(struct buf *to, struct span text, size_t max_bytes);
/* JSON text on one line. */
void text_json(struct buf *to, struct span json);
/* A stage or an error code: at most 32 printable characters without quotes; others become '_'. */
#define WORD_SIZE 33
size_t text_word(char to[static WORD_SIZE], const char *text, size_t size);

struct event_lines { /* the lines of a message or a reply: "@owner", the owner's lines, "@owner", … */
    struct span rest;
    char owner[OWNER_SIZE]; /* whose line the last one was */
    struct event_text last; /* of the last event; .code 0 = there is none to continue */
};

/* The next line of an event, absent at the end. */
struct span event_lines_next(struct event_lines *lines);
/* The event of the line event_lines_next() gave, of lines->owner. NULL if it is none of these:
 *   "=seq rev entry[\t<letter><text>…]", of a notification with the letter b and its body
 *   "~rev code time progress[ stage][\t…]", one more progress of the task in the line before. */
struct event *event_lines_read(struct event_lines *lines, struct span line);
/* Calls fn (NULL = nobody) for each event of these lines, in their order; the event is borrowed. */
void event_lines_tell(struct span lines, void (*fn)(void *ctx, const char *owner, struct event *event),
                      void *ctx);
