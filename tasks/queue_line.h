/* Events as the function library writes them: the entry that stands in an owner's log, and the line of the
 * feed, which is the entry and what it carries besides. No state; loop thread. */
#pragma once

#include "hub/event.h"
#include "tasks/event_body.h"

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

/* The event of one feed line, "=seq rev entry[\t<letter><text>…]" or the form of event_parse(); NULL if it is
 * neither. `scratch` is overwritten. */
struct event *queue_line_event(const char *owner, struct span line, struct buf *scratch);
