/* SPDX-License-Identifier: MIT */
/* Who listens: owner id -> its members on this hub, and the cursor of what was delivered to them.
 * Makes events of one owner come in order, exactly once per member, whoever caused them; heals gaps
 * from the owner's log; serves resume. Loop thread only. Reads the log and reaches the members through
 * interfaces, so it knows neither Redis keys nor tasks nor connections. */
#pragma once

#include "hub/owners/event.h"

struct owners;
struct loop;

struct owner_position {
    bool ok;        /* false: Redis did not answer */
    char epoch[24]; /* the data set's random word */
    uint64_t head;  /* seq of the newest logged event */
};
typedef void owner_position_fn(void *ctx, const struct owner_position *position);

struct owner_replay {
    bool ok;               /* false: Redis did not answer */
    bool gap;              /* the log no longer reaches back to the wanted event */
    struct event **events; /* ascending by seq; the receiver takes references it wants to keep */
    size_t count;
    bool more; /* there are more behind the last one */
};
typedef void owner_replay_fn(void *ctx, const struct owner_replay *replay);

/* How the owner's log and feed are reached; implemented above Redis in tasks/. */
struct owner_source {
    /* Marks this hub as listening to the owner, then reports where the log stands. Every event logged
     * after that position reaches owners_event(). Called again for an owner that is attached already, to
     * learn where its log stands now; of an owner, one call is under way at a time, and none at detach(). */
    void (*attach)(void *ctx, const char *owner, owner_position_fn *fn, void *fn_ctx);
    void (*detach)(void *ctx, const char *owner);
    /* Reads logged events with seq > after, at most `max`. */
    void (*replay)(void *ctx, const char *owner, uint64_t after, size_t max, owner_replay_fn *fn,
                   void *fn_ctx);
    void *ctx;
};

/* Whoever listens: a connection, a stream. Nothing here may free the member. */
struct member;
struct member_ops {
    void (*event)(void *to, struct event *event);
    /* The logged event `seq` counts as given: a reply stands for it. The first call says where the member
     * begins.
     */
    void (*skip)(void *to, uint64_t seq);
    bool (*slow)(const void *to); /* much waits for it already: a replay pauses */
    /* What it misses cannot be had any more: it must end, and come again for a snapshot. */
    void (*lost)(void *to, const char *reason);
};
/* A member of nobody yet; `to` is what the functions get. */
struct member *member_new(const struct member_ops *ops, void *to);
/* Leaves and frees it. */
void member_free(struct member **member);

/* No owner yet; `source` is asked from now on. */
struct owners *owners_new(struct loop *loop, struct owner_source source);
/* Call it when the source answers no more: no callback may come afterwards. */
void owners_free(struct owners **owners);

struct owners_resume { /* what the client asks for; epoch "" = nothing to resume */
    char epoch[24];
    uint64_t seq;
};
enum owners_joined {
    OWNERS_OK,          /* goes on behind the seq that was asked for */
    OWNERS_NONE,        /* nothing was asked for: begins at the log's end */
    OWNERS_GAP,         /* events between are lost: needs a snapshot */
    OWNERS_UNAVAILABLE, /* Redis did not answer */
};
/* The answer to owners_join(); nothing was delivered yet. */
typedef void owners_join_fn(void *ctx, enum owners_joined result, const struct owner_position *at);
/* Connects a member to an owner's events; it leaves the one it was with. fn is called once, perhaps before
 * the function returns; not at all if the member leaves first. After OWNERS_UNAVAILABLE it may join again;
 * else the caller writes its reply and calls owners_start(). */
void owners_join(struct owners *owners, const char *owner, struct member *member, struct owners_resume resume,
                 owners_join_fn *fn, void *ctx);
/* Delivers everything behind `seq`, then live events. `seq` is the client's own for OWNERS_OK, the
 * position's head for OWNERS_NONE and OWNERS_GAP. */
void owners_start(struct member *member, uint64_t seq);
/* It gets nothing more. Fine for NULL and for one that has not joined. */
void owners_leave(struct member *member);

/* One event of the owner, from the feed or from whoever knows of it first; in any order. The caller keeps its
 * reference. */
void owners_event(struct owners *owners, const char *owner, struct event *event);
/* What must come behind an answer that tells of a task, on every member of the task's owner. */
struct owner_news {
    const char *owner, *task_id;
    struct event *event; /* borrowed; NULL = none was built, since nobody but the reader listens */
    uint64_t seq; /* the answer tells of this logged event: its reader does not get it again; 0 = the event
                     goes to that one, too */
    bool held;    /* owners_hold() was called for the task: released here */
};
/* The answer was written to `reader`; NULL = nobody reads it. */
void owners_news(struct owners *owners, const struct owner_news *news, const struct member *reader);
/* Whether anybody but `except` listens here: if not, building an event is wasted. */
bool owners_listening(struct owners *owners, const char *owner, const struct member *except);
/* Between these, events of this task are held back (its submit reply is not written yet). Both are fine when
 * called twice; an owner whom nobody hears holds nothing. */
void owners_hold(struct owners *owners, const char *owner, const char *task_id);
void owners_release(struct owners *owners, const char *task_id);
/* Redis answers again: every owner's position is compared with the log. */
void owners_reconnected(struct owners *owners);
