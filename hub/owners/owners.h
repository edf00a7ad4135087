/* SPDX-License-Identifier: MIT */
/* Who listens: maps an owner id to its members on this hub and to the cursor of what was delivered to them.
 * Delivers the events of an owner in order, exactly once per member, whatever caused them; reads missing
 * events from the owner's log; serves resume. Loop thread only. Reads the log and reaches the members through
 * interfaces, so it knows neither Redis keys nor tasks nor connections. */
#pragma once

#include "hub/owners/event.h"

struct owners;
struct loop;

struct owner_position {
    bool ok;        /* false: Redis did not answer */
    char epoch[24]; /* random word that identifies the data set */
    uint64_t head;  /* seq of the newest logged event */
    uint16_t mark;  /* of that event; 0 = not known */
};
typedef void owner_position_fn(void *ctx, const struct owner_position *position);

struct owner_replay {
    bool ok;               /* false: Redis did not answer */
    bool gap;              /* the log no longer contains the wanted event */
    uint16_t mark;         /* of the event before that one; 0 = not known, the log does not contain it */
    struct event **events; /* ascending by seq, borrowed; take a reference to keep one */
    size_t count;
    bool more; /* the log has more events after the last one */
};
typedef void owner_replay_fn(void *ctx, const struct owner_replay *replay);

/* Access to an owner's log and feed; implemented on Redis in tasks/queue. */
struct owner_source {
    /* Registers this hub as a listener of the owner, then reports the position of its log. Every event logged
     * after that position reaches owners_event(). Called again for an attached owner to read the position
     * again. Per owner at most one call is under way, and none at detach(). */
    void (*attach)(void *ctx, const char *owner, owner_position_fn *fn, void *fn_ctx);
    void (*detach)(void *ctx, const char *owner);
    /* Reads at most `max` logged events with seq > `after`. */
    void (*replay)(void *ctx, const char *owner, uint64_t after, size_t max, owner_replay_fn *fn,
                   void *fn_ctx);
    void *ctx;
};

/* Anything that listens: a connection, a stream. None of these functions may free the member. */
struct member;
struct member_ops {
    void (*event)(void *to, struct event *event);
    /* Counts the logged event `seq` as delivered without sending it: a reply has reported it. The first call
     * sets where the member begins. */
    void (*skip)(void *to, uint64_t seq);
    bool (*slow)(const void *to); /* whether much is queued for it already; a replay then pauses */
    /* Events it has not got cannot be read any more: it must end, and the client reconnect for a snapshot. */
    void (*lost)(void *to, const char *reason);
};
/* Makes a member without an owner; `to` is passed to the functions. Free with member_free(). */
struct member *member_new(const struct member_ops *ops, void *to);
/* Leaves the owner, frees the member and sets *member to NULL. *member may be NULL. */
void member_free(struct member **member);

/* Makes the registry, without owners. Copies `source`. Free with owners_free(). */
struct owners *owners_new(struct loop *loop, struct owner_source source);
/* Frees it; its members leave. *owners may be NULL. Call when no callback of the source can come any more. */
void owners_free(struct owners **owners);

struct owners_resume { /* what the client asks to resume; epoch "" = nothing */
    char epoch[24];
    uint64_t seq;
    uint16_t mark; /* of the event `seq`; 0 = not told */
};
enum owners_joined {
    OWNERS_OK,          /* continues after the seq that was asked for */
    OWNERS_NONE,        /* nothing was asked for: begins at the end of the log */
    OWNERS_GAP,         /* events in between are lost: the client needs a snapshot */
    OWNERS_UNAVAILABLE, /* Redis did not answer */
};
/* The answer to owners_join(); nothing was delivered yet. `at` is borrowed. */
typedef void owners_join_fn(void *ctx, enum owners_joined result, const struct owner_position *at);
/* Joins a member to an owner's events; it leaves its earlier owner. Calls fn once, perhaps before this
 * returns; not at all if the member leaves first. After OWNERS_UNAVAILABLE it may join again; otherwise the
 * caller writes its reply and calls owners_start(). */
void owners_join(struct owners *owners, const char *owner, struct member *member, struct owners_resume resume,
                 owners_join_fn *fn, void *ctx);
/* Delivers all events after `seq`, then live ones. `seq` is the client's own for OWNERS_OK, the position's
 * head for OWNERS_NONE and OWNERS_GAP. */
void owners_start(struct member *member, uint64_t seq);
/* Stops delivering to the member. Fine for NULL and for one that has not joined. */
void owners_leave(struct member *member);

/* Receives an event of the owner, from the feed or from the call that caused it, in any order. The caller
 * keeps its reference. */
void owners_event(struct owners *owners, const char *owner, struct event *event);
/* The event that must follow an answer about a task, for every member of the task's owner. */
struct owner_news {
    const char *owner, *task_id;
    struct event *event; /* borrowed; NULL = not built, since only the reader listens */
    uint64_t seq; /* the answer reports this logged event, so its reader does not get it again; 0 = the reader
                     gets the event, too */
    bool held;    /* owners_hold() was called for the task; released here */
};
/* Call when the answer was written to `reader`; NULL = nobody reads it. */
void owners_news(struct owners *owners, const struct owner_news *news, const struct member *reader);
/* Whether any member except `except` listens here. If not, no event needs to be built. */
bool owners_listening(struct owners *owners, const char *owner, const struct member *except);
/* Events of the task are held back between these calls (until its submit reply is written). Calling either
 * one twice is fine; for an owner without members nothing is held. */
void owners_hold(struct owners *owners, const char *owner, const char *task_id);
void owners_release(struct owners *owners, const char *task_id);
/* Call when Redis answers again: compares every owner's cursor with its log. */
void owners_reconnected(struct owners *owners);
