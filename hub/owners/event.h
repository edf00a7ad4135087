/* SPDX-License-Identifier: MIT */
/* An event on its way to the sockets of one owner: immutable, counted, framed once per socket. Loop
 * thread only. Knows the classes of events (docs/protocol.md), not what a task is. */
#pragma once

#include "hub/base/buf.h"
#include "hub/base/id.h"

enum event_class {
    EVENT_LATEST,  /* replaced in place per task under back-pressure, carries rev, never seq */
    EVENT_BOUNDED, /* oldest dropped first, carries seq */
    EVENT_MUST,    /* never dropped, carries seq */
};

/* One line of the event feed names its type by one character; see event_type_by_code(). */
struct event_type {
    char code;
    const char *name; /* the "type" member, "notification" for that method */
    enum event_class class;
    bool terminal; /* nothing of this task follows */
};

struct event {
    unsigned refs;
    const struct event_type *type;
    uint64_t seq;          /* 0 for EVENT_LATEST */
    uint64_t rev;          /* of EVENT_LATEST: rises per task */
    uint64_t attempt;      /* 0 when it does not apply */
    char task_id[ID_SIZE]; /* "" for a notification */
    bool only;             /* its task has no other */
    size_t size;
    char body[]; /* the params object without seq, from and rev: '{"task_id":…}', not NUL-terminated */
};

/* The types, NULL for an unknown code:
 *   A accepted MUST · S started BOUNDED · P progress LATEST · p partial LATEST · F partial (final
 *   piece) MUST · R retrying BOUNDED · L log BOUNDED · C completed MUST · X failed MUST ·
 *   K cancelled MUST · N notification MUST */
const struct event_type *event_type_by_code(char code);

/* A new event with one reference; `body` is copied. */
struct event *event_new(char code, uint64_t seq, uint64_t rev, uint64_t attempt, struct span task_id,
                        struct span body);
/* The same without a copy of the body: what the buffer gets between the two calls. The buffer is empty
 * before and after; `size` is what the body will need, as a rule. */
void event_begin(struct buf *to, size_t size);
struct event *event_end(struct buf *body, char code, uint64_t seq, uint64_t rev, uint64_t attempt,
                        struct span task_id);
/* One reference more; gives the event. */
struct event *event_ref(struct event *event);
/* Gives a reference back and clears the pointer; the last one frees the event. Fine for NULL. */
void event_unref(struct event **event);

/* Which progress is news: a short memory of what was delivered of recent tasks, for all owners of a hub. What
 * comes over the feed and what comes by replies overtake each other by milliseconds; without it progress
 * would be shown behind a newer one or behind the end of its task. Loop thread. Bounded: the oldest task of a
 * set is forgotten first. */
struct progress;
struct progress *progress_new(void); /* give it back with free() */
/* Whether a latest-wins event is not older than what was delivered and not behind the end; then it is
 * remembered. */
bool progress_admit(struct progress *progress, const struct event *event);
/* Remembers of a logged event its task's attempt, and whether that ended; nothing of a task's only one. */
void progress_note(struct progress *progress, const struct event *event);
