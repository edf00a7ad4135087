/* SPDX-License-Identifier: MIT */
/* The task queue in Redis, as C sees it: every transition of a task is one function of the library
 * tasks/queue/lua, and what is staged during a turn of the loop leaves in one call per kind. Used by the hub
 * and by the worker's parent; loop thread only. Keys are made by the library alone.
 *
 * Each call copies its texts unless it says otherwise, and tells `fn` once, after it has returned, in the
 * order of the calls of its kind; not at all when the queue is freed first. What `fn` is given is borrowed.
 * Without an answer of Redis the code is QUEUE_UNAVAILABLE: the call may have been carried out or not. */
#pragma once

#include "hub/owners/event.h"
#include "hub/owners/owners.h"
#include "hub/redis/redis.h"
#include "hub/redis/redis_refusal.h"

enum queue_code { /* outcome of a call; the wire codes are made of it in handlers/ */
                  QUEUE_OK,
                  QUEUE_DUPLICATE,    /* submit: the idempotency key stood for this task already */
                  QUEUE_MISMATCH,     /* submit: same key, other type or arguments */
                  QUEUE_USER_LIMIT,   /* submit: limits.user_tasks; with a delay limits.user_delayed */
                  QUEUE_GLOBAL_LIMIT, /* submit: limits.global_tasks */
                  QUEUE_NOT_FOUND,
                  QUEUE_FORBIDDEN,   /* another owner's task */
                  QUEUE_STATE,       /* not possible in the task's state */
                  QUEUE_INPUT_GONE,  /* retry: audio or file is gone */
                  QUEUE_LOST,        /* runner's write refused: (task, holder, fence) is stale */
                  QUEUE_UNAVAILABLE, /* no answer from Redis: outcome unknown, or Redis refuses writes */
};

struct queue_config {
    const char *origin; /* name of this process, hub or worker: fences leases, marks events */
    bool numbered;      /* nobody chose the name: it gets a number where a living process has it */
    /* Of a hub that alone uses this Redis, as a lock outside makes sure: the name of its worker. Who had that
     * or the hub's own before is gone. NULL: who lives is seen in Redis. */
    const char *private_worker;
    bool hub;        /* a hub gets the events it causes on the replies; a worker's are published */
    bool reads_only; /* the library is not loaded where it is missing */
    unsigned lease_ms, user_tasks, global_tasks;
    unsigned user_light;     /* light tasks of a user that wait in Redis */
    unsigned user_delayed;   /* heavy tasks of a user whose first time has not come */
    int64_t user_rows_per_s; /* that reads of one who asks may look at; beyond, they wait; 0 = any number */
    uint64_t retention_heavy_ms, retention_light_ms;
};

struct queue_hooks {
    /* Events caused by this hub's calls (never called for a worker). `event` is borrowed. */
    void (*on_event)(void *ctx, const char *owner, struct event *event);
    void *ctx;
    /* Another living process has the name of this one, be it at its start or because this one was silent for
     * so long: it has to end. `reason` says what to do. Its queue_load() is not answered. */
    void (*on_name_taken)(void *ctx, const char *reason);
};

struct queue;
/* `redis` is borrowed, `config` copied. Give it back with queue_free(). */
struct queue *queue_new(struct loop *loop, struct redis *redis, const struct queue_config *config,
                        struct queue_hooks hooks);
/* Loads the library (FUNCTION LOAD, replaced when its text differs) and takes the name, once it is known that
 * no living process has it: mostly at once, at most a lease later. Call in every on_up of the connection; one
 * that waits then is not answered. code: QUEUE_OK, or with an English reason QUEUE_UNAVAILABLE, or
 * QUEUE_STATE: the data has a format that this version cannot read. fn may be NULL. */
typedef void queue_ready_fn(void *ctx, enum queue_code code, const char *reason);
void queue_load(struct queue *queue, queue_ready_fn *fn, void *ctx);
/* Without the prefix of its kind; another one where a living process had the first. Borrowed until the next
 * queue_load(). */
const char *queue_name(const struct queue *queue);
/* Gives the name back; the process holds nothing and ends. */
typedef void queue_done_fn(void *ctx, enum queue_code code);
void queue_leave(struct queue *queue, queue_done_fn *fn, void *ctx);
/* Free the connection first: it answers what is under way. What is still pending is forgotten. */
void queue_free(struct queue **queue);
/* Submissions, retries, cancels, what is taken back and the probe go by this connection (borrowed) from now
 * on: its answers wait until replicas have what was written, those of other calls do not. */
void queue_confirm(struct queue *queue, struct redis *confirmed);
/* The connection it was made with. */
struct redis *queue_redis(struct queue *queue);
/* Whether a call with transitions (submissions, reports, ends) is under way. */
bool queue_is_writing(const struct queue *queue);

/* Runs a function that writes as a submission does and leaves nothing. Tells why Redis refused it,
 * REDIS_TAKES if it did not; with REDIS_TAKES, by name, the heavy queues that no worker listens to
 * (NULL-terminated, fixed texts). Without an answer `answered` is false. */
struct queue_probed {
    bool answered;
    enum redis_refusal refusal;
    const char *unserved[3];
};
typedef void queue_probe_fn(void *ctx, const struct queue_probed *probed);
void queue_probe(struct queue *queue, queue_probe_fn *fn, void *ctx);

/* ---- submit ------------------------------------------------------------------------------------ */
struct queue_submit { /* every pointer is borrowed during the call only */
    const char *id, *owner, *task;
    const char *queue;             /* "default", "live" or "light" */
    struct span args;              /* JSON object text, SPAN_NONE = {} */
    const char *effect_id;         /* of its idempotency key; NULL = it has none */
    const char *retry_of;          /* NULL = none */
    unsigned priority;             /* 0–9 */
    uint64_t delay_ms, expires_ms; /* from now; 0 = none */
    unsigned max_attempts;
    unsigned backoff_base_ms, backoff_cap_ms;
    bool light;  /* not counted in the heavy limits; light retention */
    bool stream; /* an audio stream follows: stage "listening" is expected, bytes by queue_audio_* */
    bool lease;  /* light: record and lease to this process in one step */
    /* A light task that ran before it is recorded, NULL = any other: the record is written once, as it ended;
     * the log gets its terminal event only, whose number is submitted.seq. Completed or failed, plain,
     * without a time; borrowed until fn is called. Arguments are kept only when it failed, for task.retry.
     * When the key stands for another task (QUEUE_DUPLICATE, QUEUE_MISMATCH), the outcome is dropped. */
    struct event_text *end;
    uint64_t started_ms; /* with .end: wall time */
};
struct queue_submitted {
    enum queue_code code;
    char id[ID_SIZE];    /* the task; for QUEUE_DUPLICATE the older one */
    char status[12];     /* "pending", or for QUEUE_DUPLICATE what it is now */
    uint64_t seq;        /* of its accepted event (QUEUE_OK) or the owner's head (QUEUE_DUPLICATE) */
    int64_t at_ms;       /* QUEUE_OK: Redis' time of the submission */
    unsigned fence;      /* with .lease: 1, as is the attempt */
    uint64_t retry_ms;   /* limits: when to try again */
    struct event *event; /* with .end and QUEUE_OK: the end, borrowed; else NULL */
};
typedef void queue_submitted_fn(void *ctx, const struct queue_submitted *submitted);
void queue_submit(struct queue *queue, const struct queue_submit *submit, queue_submitted_fn *fn, void *ctx);

/* What all submissions of an owner with one idempotency key share: names their effects (a UUID). */
void queue_effect_id(char id[static ID_SIZE], const char *owner, struct span key);

/* ---- the runner's side --------------------------------------------------------------------------- */
struct queue_leased {
    const char *id, *owner, *task;
    unsigned attempt;      /* from 1; what people see */
    unsigned fence;        /* names this lease: rises with each, and every write about the task says it */
    const char *effect_id; /* names its effects: shared by its attempts and by the submissions of its key */
    struct span args;
    char **args_home; /* NULL, or where the memory of long args stands: who leaves NULL there keeps it
                         (free()) */
    unsigned rev;     /* of the task's last report, 0 = none: where queue_reported begins */
};
/* `next_due_ms`: until a delayed task is due, 0 = none. */
typedef void queue_leased_fn(void *ctx, enum queue_code code, const struct queue_leased *tasks, size_t count,
                             uint64_t next_due_ms);
/* Leases up to `count` tasks of `name`; sweeps expired leases and due delayed tasks on the way. A leased
 * task stays `pending`/`queued` until queue_started(). The queue's bell rings when it gets its first task:
 * who has no room then asks later, and who was given `count` asks again. */
void queue_lease(struct queue *queue, const char *name, unsigned count, queue_leased_fn *fn, void *ctx);
/* The task begins to run: state processing, event started. */
void queue_started(struct queue *queue, const char *id, unsigned fence, queue_done_fn *fn, void *ctx);

struct queue_reported { /* what an attempt reported last; its runner keeps it from report to report */
    unsigned rev;       /* rises per task, over all attempts */
    int percent;        /* the highest */
    char stage[33];     /* "" = none yet */
};
enum queue_update_kind { QUEUE_PROGRESS, QUEUE_PARTIAL, QUEUE_FINAL, QUEUE_LOG };
struct queue_update { /* NULL/NONE members are unchanged */
    enum queue_update_kind kind;
    const char *id;
    unsigned fence, attempt;
    int percent;         /* QUEUE_PROGRESS */
    const char *stage;   /* QUEUE_PROGRESS */
    struct span message; /* QUEUE_PROGRESS, QUEUE_LOG: plain text */
    struct span meta;    /* JSON object */
    unsigned number;     /* FINAL, LOG: rises within an attempt, taken once when said again; 0 = none */
    const char *task;    /* PROGRESS, PARTIAL: the task's type */
    struct queue_reported *reported; /* PROGRESS, PARTIAL: brought up to date by the call, not kept */
};
/* What is said in one turn leaves in few calls: first starts, progress and partials, then final pieces and
 * log lines, then ends. The record takes the last progress of each task, every update becomes an event; but
 * of what a task says while Redis is slow, progress and partials beyond 64 KiB are dropped, the oldest first.
 * Progress never falls within an attempt. fn may be
 * NULL; nobody is told of progress and partials. */
void queue_update(struct queue *queue, const struct queue_update *update, queue_done_fn *fn, void *ctx);

enum queue_end_kind { /* how a lease ends */
                      QUEUE_COMPLETED,
                      QUEUE_FAILED,
                      QUEUE_CANCELLED,
                      QUEUE_DIED,     /* the task's process ended without a word: the second death fails it */
                      QUEUE_RETURNED, /* given back, the attempt goes on; one that had started is told why */
};
struct queue_end {
    enum queue_end_kind kind;
    const char *id;
    unsigned fence;
    struct span result; /* JSON text */
    struct span error_code, error;
    bool retry; /* QUEUE_FAILED: another attempt if any is left */
};
/* QUEUE_OK also when a cancel had been acknowledged before: the task ends `cancelled` then. */
void queue_end(struct queue *queue, const struct queue_end *end, queue_done_fn *fn, void *ctx);
/* Gives back everything this origin holds (start of a new incarnation); a running task counts a death. */
void queue_reclaim(struct queue *queue, queue_done_fn *fn, void *ctx);

struct queue_beat_item {
    const char *id;
    unsigned fence;
};
typedef void queue_beat_fn(void *ctx, enum queue_code code, const struct queue_beat_item *lost,
                           size_t lost_count, const struct queue_beat_item *cancelled,
                           size_t cancelled_count);
/* Renews the leases of these tasks and registers the process; `info` is the JSON object that admin.workers
 * shows. Tells which of the tasks this process does not hold any more, and which are asked to stop. */
void queue_beat(struct queue *queue, const struct queue_beat_item *items, size_t count, struct span info,
                queue_beat_fn *fn, void *ctx);

/* ---- the owner's side -------------------------------------------------------------------------- */
struct queue_caller { /* who asks; checked inside the function */
    const char *owner;
    bool any_read, any_write; /* viewer and admin: other owners' tasks too */
    bool sees_workers;        /* staff: which worker holds a task */
};
struct queue_answer {
    enum queue_code code;
    struct span json; /* get: the task object; list: {"tasks":[…],…}; why, stats, …: as protocol.md */
    /* Of cancel and retry, and of the task that a retry's key stands for already (QUEUE_DUPLICATE): */
    char id[ID_SIZE];
    char status[12], stage[33];
    uint64_t seq;
    int64_t at_ms;     /* retry: time of the accepted event */
    uint64_t retry_ms; /* limits: when to try again */
};
typedef void queue_answer_fn(void *ctx, const struct queue_answer *answer);
/* One task as docs/protocol.md has it. QUEUE_NOT_FOUND, QUEUE_FORBIDDEN; also of those below. */
void queue_get(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx);
struct queue_filter {
    const char *owner;          /* NULL = all owners (admin) */
    const char *asker;          /* who takes turns with others */
    const char *status, *task;  /* NULL = any */
    int64_t since_ms, until_ms; /* -1 = open */
    const char *cursor;         /* NULL = from the newest */
    unsigned limit;             /* 1–200 */
};
/* A page of tasks, the newest first, the totals by status and the cursor of the next page. */
void queue_list(struct queue *queue, const struct queue_filter *filter, queue_answer_fn *fn, void *ctx);
/* What a client needs after a gap: {"tasks":[…]}, all active ones and the newest that ended, 200 at most. */
void queue_snapshot(struct queue *queue, const char *owner, queue_answer_fn *fn, void *ctx);
/* A task that waits ends at once; a running one is asked to stop, and its stage is "cancelling". QUEUE_OK
 * also for one that was cancelled before; QUEUE_STATE: it had ended otherwise. */
void queue_cancel(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
                  void *ctx);
struct queue_retry {       /* borrowed during the call */
    const char *id;        /* the failed or cancelled task */
    const char *new_id;    /* of the one to be made */
    const char *own_arg;   /* the argument that must be absent or name the caller, NULL = none */
    const char *effect_id; /* of its idempotency key; NULL = it has none */
};
/* A new task with the arguments (and audio) of a failed or cancelled one. In the answer id is the new task,
 * seq and at_ms are its accepted event's: as for queue_submit(), the hub tells it to its sockets itself.
 * QUEUE_DUPLICATE, QUEUE_MISMATCH, QUEUE_STATE, QUEUE_INPUT_GONE, and the limits with retry_ms. */
void queue_retry(struct queue *queue, const struct queue_caller *who, const struct queue_retry *retry,
                 queue_answer_fn *fn, void *ctx);
/* Why a task is where it is: a line for people and the facts. */
void queue_why(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx);
/* Figures of the whole data set, and the processes that work on it: admin.stats, admin.workers. */
void queue_stats(struct queue *queue, queue_answer_fn *fn, void *ctx);
void queue_workers(struct queue *queue, queue_answer_fn *fn, void *ctx);

/* ---- audio ------------------------------------------------------------------------------------- */
struct queue_audio {
    enum queue_code code; /* QUEUE_STATE: the task or its stream has ended */
    uint64_t received;    /* bytes that stand in Redis */
    bool ended;
};
typedef void queue_audio_fn(void *ctx, const struct queue_audio *audio);
/* Appends bytes at `offset`; what stands there already is skipped. One append per stream and turn. The bytes
 * are borrowed until fn is called or the queue freed. */
void queue_audio_append(struct queue *queue, const char *owner, const char *id, uint64_t offset,
                        struct span bytes, queue_audio_fn *fn, void *ctx);
/* No more bytes will come. QUEUE_OK also when that was said before. */
void queue_audio_end(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx);
/* This hub keeps these open streams for so long; one that no hub keeps fails as "abandoned". At most
 * QUEUE_KEEP_MAX ids. */
#define QUEUE_KEEP_MAX 1000
void queue_audio_keep(struct queue *queue, const char *const *ids, size_t count, uint64_t keep_ms);
/* This hub goes on with the stream, so that no other one fails it as "abandoned"; tells where it stands.
 * Checks the owner. */
void queue_audio_take(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx);
/* Ends the task of a stream from outside: failed with this code (flow, idle, aborted), whoever runs it. As
 * "abandoned" only if no other hub has taken it. */
void queue_audio_fail(struct queue *queue, const char *owner, const char *id, const char *code,
                      const char *error, queue_done_fn *fn, void *ctx);
/* Reads up to max_bytes from `offset` on; on_audio of the feed tells when there are more. `total`: bytes that
 * stand in Redis; `ended`: no more will come. */
typedef void queue_audio_data_fn(void *ctx, enum queue_code code, struct span bytes, bool ended,
                                 uint64_t total);
void queue_audio_read(struct queue *queue, const char *owner, const char *id, uint64_t offset,
                      size_t max_bytes, queue_audio_data_fn *fn, void *ctx);

/* ---- feeds (a second connection: subscriptions) -------------------------------------------------- */
struct queue_feed_hooks { /* NULL = nobody; what they are given is borrowed */
    void (*on_event)(void *ctx, const char *owner, struct event *event); /* not this origin's own */
    void (*on_bell)(void *ctx, const char *queue);                /* this queue has work, and had none */
    void (*on_cancel)(void *ctx, const char *id, unsigned fence); /* for this worker */
    void (*on_audio)(void *ctx, const char *id);                  /* a stream has more bytes or ended */
    void (*on_admin)(void *ctx, const char *owner, struct event *event); /* admin.watch: every owner */
    void *ctx;
};
struct queue_feed;
/* One per queue; `subscriber` is borrowed. Free it before either. */
struct queue_feed *queue_feed_new(struct queue *queue, struct redis *subscriber,
                                  struct queue_feed_hooks hooks);
void queue_feed_free(struct queue_feed **feed);
/* Call in every on_up of the subscriber: subscribes again to everything wanted; a hub, to its channel. */
void queue_feed_up(struct queue_feed *feed);
/* Calls on_bell for this queue, once more with each subscription: work may have come before it. */
void queue_feed_listen_bell(struct queue_feed *feed, const char *queue);
/* Calls on_cancel and on_audio for what this process holds. */
void queue_feed_listen_control(struct queue_feed *feed);
/* Whether the subscriber of the queue's feed is connected; true without a feed. A holder that nobody hears
 * has to beat within 1.5 s: else it counts as dead. Loop thread. */
bool queue_is_heard(const struct queue *queue);
/* on_admin is called with the events of every owner. fn: once no event that comes later is missed; or
 * QUEUE_UNAVAILABLE (perhaps before this returns), then call it again or queue_feed_unwatch(). */
void queue_feed_watch(struct queue_feed *feed, queue_done_fn *fn, void *ctx);
/* Not any more; those that queue_feed_watch() has not answered are told QUEUE_OK now. */
void queue_feed_unwatch(struct queue_feed *feed);
/* The owners' logs and events as hub/owners wants them; valid while the feed is. */
struct owner_source queue_feed_source(struct queue_feed *feed);
