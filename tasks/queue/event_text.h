/* SPDX-License-Identifier: MIT */
/* Events as text, written and read only here (the Lua library writes the same lines): the entry of an
 * owner's log; the line of the feed, which is the entry and whatever else the event carries; and the JSON
 * of a task.event. Any thread; no state. */
#pragma once

#include "hub/auth/principal.h"
#include "hub/owners/event.h"

/* What an event says of a task: "code attempt id time progress task[ stage]" is its entry in the log.
 * Texts are borrowed; absent ones are left out. */
struct event_text {
    char code; /* of event_type_by_code(); tells the status too */
    unsigned attempt;
    int progress;  /* 0–100 */
    int64_t at_ms; /* wall time */
    struct span id, task, owner;
    struct span stage; /* of a running task; SPAN_NONE = the code's usual one */
    struct span message, error_code, error;
    struct span meta, result; /* JSON; a result above RESULT_INLINE_MAX becomes "result_omitted":true */
    bool omitted;             /* a result exists but is not at hand */
    bool quoted;              /* message and error are JSON strings, else plain text */
};
#define RESULT_INLINE_MAX 16384

/* Reads an entry; the spans point into `entry`. False if it is malformed; an entry of a notification has
 * the id "-". */
bool event_text_read(struct span entry, struct event_text *ret) MUSTCHECK;

/* What tells this event from another one of the same seq, of an older or newer history: never 0. Every
 * process makes the same of one event, whether it was told live or read from the log. */
uint16_t event_text_mark(const struct event_text *text);
/* Appends ,"mark":"…" unless it is 0. Reads the text of one; 0 if it is none. */
#define MARK_DIGITS 4
void event_mark_member(struct buf *to, uint16_t mark);
uint16_t event_mark_read(struct span digits);

/* The event with its params object '{"task_id":…,"at":"…"}'; a logged one's has its mark. */
struct event *event_text_build(const struct event_text *text, uint64_t seq, uint64_t rev);

/* Appends a line of progress or of a partial result: a whole line if `lines` is empty, else the short form
 * that continues the task of the line before. Message and meta must be quoted and on one line. */
void event_text_line(struct buf *lines, const struct event_text *text, uint64_t rev);

/* Appends plain text as a JSON string, cut after max_bytes; nothing for absent text. */
void text_quoted(struct buf *to, struct span text, size_t max_bytes);
/* Appends JSON text on one line: newlines and tabs between tokens become spaces. */
void text_json(struct buf *to, struct span json);
/* A stage or an error code: at most 32 printable characters without quotes; others become '_'. */
#define WORD_SIZE 33
size_t text_word(char to[static WORD_SIZE], const char *text, size_t size);

struct event_lines { /* the lines of a message or a reply: "@owner", the owner's lines, "@owner", … */
    struct span rest;
    char owner[OWNER_SIZE]; /* owner of the last line */
    struct event_text last; /* the last event; .code 0 = none to continue */
};

/* Returns the next line of an event, absent at the end. */
struct span event_lines_next(struct event_lines *lines);
/* Returns the event of a line that event_lines_next() gave, for lines->owner. NULL if it is none of these:
 *   "=seq rev entry[\t<letter><text>…]"; a notification has the letter b and its body
 *   "~rev code time progress[ stage][\t…]", one more progress of the task in the line before. */
struct event *event_lines_read(struct event_lines *lines, struct span line);
/* Calls fn (NULL = nobody) for each event of these lines, in their order; the event is borrowed. */
void event_lines_tell(struct span lines, void (*fn)(void *ctx, const char *owner, struct event *event),
                      void *ctx);
