/* SPDX-License-Identifier: MIT */
/* An event for the sockets of one owner: immutable, reference-counted, framed once per socket. Loop thread
 * only. Knows the classes of events (docs/protocol.md), but not what a task is. */
#pragma once

#include "hub/base/buf.h"
#include "hub/base/id.h"

enum event_class {
    EVENT_LATEST,  /* replaced per task by a newer one under back-pressure; has rev, never seq */
    EVENT_BOUNDED, /* oldest dropped first under back-pressure; has seq */
    EVENT_MUST,    /* never dropped; has seq */
};

/* A line of the event feed names its type by one character; see event_type_by_code(). */
struct event_type {
    char code;
    const char *name; /* the "type" member, "notification" for that method */
    enum event_class class;
    bool terminal; /* no event of the task follows it */
};

struct event {
    unsigned refs;
    const struct event_type *type;
    uint64_t seq;          /* 0 for EVENT_LATEST */
    uint64_t rev;          /* EVENT_LATEST: rises per task */
    uint64_t attempt;      /* 0 if it does not apply */
    char task_id[ID_SIZE]; /* "" for a notification */
    bool only;             /* the task has no other event */
    uint16_t mark;         /* of a logged event: tells it from another one of this seq; 0 = not known */
    size_t size;
    char body[]; /* the params object without seq, from and rev: '{"task_id":…}', not NUL-terminated */
};

const struct event_type *event_type_by_code(char code);

/* Makes an event with one reference; copies `body`. */
struct event *event_new(char code, uint64_t seq, uint64_t rev, uint64_t attempt, struct span task_id,
                        struct span body);
/* The same without copying the body: the caller appends the body to the buffer between the two calls. The
 * buffer is empty before and after; `size`: the body's expected length in bytes. */
void event_begin(struct buf *to, size_t size);
struct event *event_end(struct buf *body, char code, uint64_t seq, uint64_t rev, uint64_t attempt,
                        struct span task_id);
/* Adds a reference; returns the event. */
struct event *event_ref(struct event *event);
/* Releases a reference and clears the pointer; the last one frees the event. NULL is fine. */
void event_unref(struct event **event);

/* Filters outdated progress: remembers for a short time what was delivered of recent tasks, for all owners of
 * a hub. Events from the feed and from replies overtake each other by milliseconds; without the filter a
 * client would see progress after newer progress or after the end of its task. Loop thread. Bounded: each set
 * of tasks forgets its oldest first. */
struct progress;
struct progress *progress_new(void); /* free() */
/* Whether to deliver an EVENT_LATEST event: its task has not ended and has no newer one. If so, remembers it
 * as delivered. */
bool progress_admit(struct progress *progress, const struct event *event);
/* Remembers of a logged event its task's attempt and whether the task ended; ignores an event that is its
 * task's only one. */
void progress_note(struct progress *progress, const struct event *event);
