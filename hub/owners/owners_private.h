/* What the files of owners share: an owner, its members, the reorder buffer and the
 * short memory of tasks. Nobody else includes it, except their unit test. Loop thread only. */
#pragma once

#include "hub/base/list.h"
#include "hub/base/loop.h"
#include "hub/base/table.h"
#include "hub/owners/owners.h"

#define OWNER_PENDING_MAX 256         /* events waiting for an earlier one */
#define OWNER_PENDING_BYTES 1048576   /* of their bodies; past either bound the log is read again */
#define OWNER_PAGE 100                /* events of one replay read */
#define OWNER_READS_MAX 64            /* replay reads of catching-up connections at a time */
#define OWNER_TICK_MS 10              /* of gaps and catching up */
#define OWNER_GAP_TICKS 25            /* a gap is real after so long … */
#define OWNER_GAP_TICKS_IN_FLIGHT 100 /* … or this, while submissions of the owner are in flight */
#define OWNER_RETRY_TICKS 50          /* between two tries while Redis does not answer */
#define OWNER_LINGER_S 30             /* how long the feed stays after the last socket */
#define OWNER_SEEN_S 10               /* how long an idle owner's memory of tasks stays */

/* ---- owner_pending.c: events that wait, ascending by seq --------------------------------------- */
struct pending_item {
    struct list node;
    uint64_t seq;        /* 0 for a latest-wins event … */
    uint64_t after;      /* … which then follows this one; else seq */
    struct event *event; /* NULL: told by a reply, never built here */
    uint64_t told;       /* serial of the member that a reply told, 0 = nobody */
};
struct pending {
    struct list items;
    size_t count, bytes;
};
void pending_init(struct pending *pending);
void pending_clear(struct pending *pending);
/* Keeps a logged event (or the bare seq) in its place; beyond the bounds the latest ones are forgotten. */
void pending_put(struct pending *pending, uint64_t seq, struct event *event, uint64_t told);
/* What waits last of the event's task, NULL if nothing does. */
struct pending_item *pending_last_of(struct pending *pending, const struct event *event);
/* Keeps a latest-wins event behind what waits of its task, which is the only order it has; beyond the bounds
 * in place of an older one. Waiting is short, so nothing is dropped for it without need. */
void pending_put_latest(struct pending *pending, uint64_t delivered, struct event *event);
/* The first logged one's seq, 0 if there is none. */
uint64_t pending_first_seq(const struct pending *pending);
void pending_drop(struct pending *pending, struct pending_item *item);

/* ---- owner_seen.c: what was delivered of recent tasks -------------------------------------------- */
struct seen;
struct seen *seen_new(void);
/* Whether a latest-wins event is news: not older than what was delivered and not behind the end. */
bool seen_admit(struct seen *seen, const struct event *event);
/* Remembers a logged event: its attempt, and whether it was the task's end. */
void seen_note(struct seen *seen, const struct event *event);

/* ---- owners -------------------------------------------------------------------------------------- */
enum member_state {
    MEMBER_OUT,      /* with no owner */
    MEMBER_JOINING,  /* waits for a position or a first page */
    MEMBER_JOINED,   /* answered; the reply is being written */
    MEMBER_CATCHING, /* reads the log from its own cursor */
    MEMBER_LIVE,     /* gets every event as it is delivered */
};
struct member_read;
struct member {
    struct list node;
    struct owner *owner;
    const struct member_ops *ops;
    void *to;
    uint64_t serial; /* of this member among all, 0 = has never joined */
    enum member_state state;
    struct member_read *reading; /* the read in flight, NULL = none */
    bool fresh;                  /* the position was asked for this join */
    unsigned wait_ticks;
    uint64_t cursor; /* everything up to here was given */
    struct owners_resume resume;
    owners_join_fn *fn;
    void *ctx;
    struct event **page;
    size_t page_at, page_count;
    uint64_t *told; /* ascending seqs that replies told while catching up, bounded by what may be in flight */
    size_t told_at, told_count, told_room; /* before told_at: given */
};

struct owner {
    struct table_node node;
    struct list all;   /* in owners->all */
    struct list timed; /* in owners->timed while a gap or a catching member needs ticks */
    struct owners *owners;
    struct list members;
    struct list holds;
    bool attached, attaching, healing;
    bool doubted; /* within this second it was asked whether the log began anew */
    char epoch[24];
    uint64_t delivered; /* the cursor: everything up to here went out */
    uint64_t known;     /* the highest seq heard of */
    struct pending pending;
    struct seen *seen; /* NULL while idle */
    unsigned seen_s, linger_s;
    unsigned started, catching; /* members in these states; started includes catching */
    unsigned calls;             /* of the source, in flight */
    unsigned gap_ticks;         /* 0 = no gap */
    unsigned heal_wait;
    struct event **recent; /* ring of delivered events, kept while somebody catches up */
    size_t recent_count, recent_next;
    char id[];
};
#define OWNER_RECENT 64

struct hold {
    struct table_node node;
    struct list of_owner;
    struct owner *owner;
    char task_id[ID_SIZE];
};

struct owners {
    struct loop *loop;
    struct owner_source source;
    struct table by_id, holds;
    struct list all, timed;
    unsigned reads;  /* of members, in flight */
    uint64_t serial; /* of the newest member */
    uv_timer_t fast, slow;
    unsigned open_timers;
};

struct owner *owner_find(const struct owners *owners, const char *id);
bool owner_held(const struct owners *owners, const char *task_id);
/* Puts the owner on the list of those that the fast timer visits. */
void owner_wake(struct owner *owner);
/* Notes what a logged event says of its task: progress from before it may still come, over the feed. */
void owner_note(struct owner *owner, const struct event *event);
/* Notes a gap or its end. */
void owner_check_gap(struct owner *owner);
/* Asks the source where the log stands; a call in flight is enough. */
void owner_attach(struct owner *owner);
/* Nobody needs the events now: the cursor jumps to the newest. */
void owner_jump(struct owner *owner);
/* Ends every started member: what they miss cannot be had. */
void owner_reset(struct owner *owner, const char *reason);
/* Frees an owner nobody needs. */
void owner_free(struct owner *owner);

/* owner_join.c */
void member_decide(struct member *member);
void member_answer(struct member *member, enum owners_joined result);
/* Goes on catching up as far as it can. */
void member_chase(struct member *member);
void member_catch_up(struct member *member);
void member_note_told(struct member *member, uint64_t seq);

/* The timers' work, here so that a test can pass time. */
void owners_tick(struct owners *owners);        /* every OWNER_TICK_MS while anything waits */
void owners_tick_second(struct owners *owners); /* every second */
