/* SPDX-License-Identifier: MIT */
/* The task queue in Redis, as C sees it: every transition of a task is one function of the library
 * tasks/queue/lua, and what is staged during a turn of the loop is sent in one call per kind. Used by the hub
 * and by the worker's parent; loop thread only. Only the library builds keys.
 *
 * Each call copies its texts unless it says otherwise, and calls `fn` once, after it has returned, in the
 * order of the calls of its kind; never if the queue is freed first. What `fn` is given is borrowed.
 * Without an answer from Redis the code is QUEUE_UNAVAILABLE: the call may have been carried out or not. */
#pragma once

#include "hub/owners/event.h"
#include "hub/owners/owners.h"
#include "hub/redis/redis.h"
#include "hub/redis/redis_refusal.h"

enum queue_code { /* outcome of a call; handlers/ maps it to wire codes */
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
                  QUEUE_QUOTA,       /* submit, retry, audio: the owner keeps quota.owner_bytes already */
                  QUEUE_UNAVAILABLE, /* no answer from Redis: outcome unknown, or Redis refuses writes */
};

struct queue_config {
    const char *origin; /* name of this process, hub or worker: part of a lease's holder, marks events */
    bool numbered;      /* nobody chose the name: it gets a number if a living process has it */
    /* For a hub that alone uses this Redis, which a lock outside guarantees: the name of its worker.
     * Earlier holders of that name or the hub's own count as gone. NULL: liveness is read from Redis. */
    const char *private_worker;
    bool hub;        /* a hub gets the events it causes with the replies; a worker's are published */
    bool reads_only; /* never load the library, even if it is missing */
    unsigned lease_ms, user_tasks, global_tasks;
    unsigned user_light;     /* most light tasks of a user that may wait in Redis */
    unsigned user_delayed;   /* most heavy tasks of a user that are delayed and not yet due */
    uint64_t owner_bytes;    /* most bytes that Redis keeps of an owner; hubs only */
    int64_t user_rows_per_s; /* rows per second that one caller's reads may look at; beyond, they wait; 0 =
                                any number */
    uint64_t retention_heavy_ms, retention_light_ms;
};

struct queue_hooks {
    /* Events caused by this hub's calls (never called for a worker). `event` is borrowed. */
    void (*on_event)(void *ctx, const char *owner, struct event *event);
    void *ctx;
    /* Another living process has this one's name, from the start or because this one was silent for too
     * long: this process must end. `reason` says what to do. Its queue_load() is not answered. */
    void (*on_name_taken)(void *ctx, const char *reason);
};

struct queue;
/* `redis` is borrowed, `config` copied. Give it back with queue_free(). */
struct queue *queue_new(struct loop *loop, struct redis *redis, const struct queue_config *config,
                        struct queue_hooks hooks);
/* Loads the library (FUNCTION LOAD, replaced when its text differs) and claims the name once no living
 * process is known to have it: usually at once, at most a lease later. Call in every on_up of the
 * connection; a call that is still waiting then is not answered. code: QUEUE_OK; or, with an English
 * reason, QUEUE_UNAVAILABLE or QUEUE_STATE (the data has a format that this version cannot read). fn may
 * be NULL. */
typedef void queue_ready_fn(void *ctx, enum queue_code code, const char *reason);
void queue_load(struct queue *queue, queue_ready_fn *fn, void *ctx);
/* The name of this process without the prefix of its kind; differs from the configured one if a living
 * process had that. Borrowed until the next queue_load(). */
const char *queue_name(const struct queue *queue);
/* Gives the name back. Call it when the process holds no lease any more and is about to end. */
typedef void queue_done_fn(void *ctx, enum queue_code code);
void queue_leave(struct queue *queue, queue_done_fn *fn, void *ctx);
/* Frees the queue and forgets what is still pending. Free the connection first: it answers what is under
 * way. */
void queue_free(struct queue **queue);
/* From now on sends submissions, retries, cancels, revocations and the probe by this connection
 * (borrowed), whose answers wait until replicas have the write; other calls do not wait. */
void queue_confirm(struct queue *queue, struct redis *confirmed);
/* The connection given to queue_new(); borrowed. */
struct redis *queue_redis(struct queue *queue);
/* Whether a call with transitions (submissions, reports, ends) is under way. */
bool queue_is_writing(const struct queue *queue);

/* Runs a function that writes as a submission does and leaves nothing behind. Tells why Redis refused it,
 * or REDIS_TAKES; with REDIS_TAKES, also the names of the heavy queues that no worker listens to
 * (NULL-terminated, static texts), and Redis' memory. Without an answer `answered` is false. */
struct queue_probed {
    bool answered;
    uint64_t used_bytes, max_bytes; /* maxmemory, 0 = none */
    enum redis_refusal refusal;
    const char *unserved[3];
};
typedef void queue_probe_fn(void *ctx, const struct queue_probed *probed);
void queue_probe(struct queue *queue, queue_probe_fn *fn, void *ctx);

/* ---- submit ------------------------------------------------------------------------------------ */
struct queue_submit { /* every pointer is borrowed, only during the call */
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
    /* The end of a light task that ran before it is recorded; NULL = any other task. The record is written
     * once, already ended; the log gets only its terminal event, whose number is submitted.seq. Completed
     * or failed, plain, without a time; borrowed until fn is called. Arguments are kept only if it failed,
     * for task.retry. If the key stands for another task (QUEUE_DUPLICATE, QUEUE_MISMATCH), the outcome is
     * dropped. */
    struct event_text *end;
    uint64_t started_ms; /* with .end: wall time */
};
struct queue_submitted {
    enum queue_code code;
    char id[ID_SIZE];    /* the task; for QUEUE_DUPLICATE the earlier one */
    char status[12];     /* "pending"; for QUEUE_DUPLICATE its current status */
    uint64_t seq;        /* of its accepted event (QUEUE_OK) or the owner's head (QUEUE_DUPLICATE) */
    int64_t at_ms;       /* QUEUE_OK: Redis' time of the submission */
    unsigned fence;      /* with .lease: 1, as is the attempt */
    uint64_t retry_ms;   /* limits: when to try again */
    uint64_t used, most; /* QUEUE_QUOTA: bytes of the owner */
    struct event *event; /* with .end and QUEUE_OK: the terminal event, borrowed; else NULL */
};
typedef void queue_submitted_fn(void *ctx, const struct queue_submitted *submitted);
void queue_submit(struct queue *queue, const struct queue_submit *submit, queue_submitted_fn *fn, void *ctx);

/* Writes the effect id (a UUID), which all submissions of an owner with the same idempotency key share. */
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
/* Reports that the task has begun to run: state processing, event started. */
void queue_started(struct queue *queue, const char *id, unsigned fence, queue_done_fn *fn, void *ctx);

struct queue_reported { /* what an attempt reported last; its runner keeps it between reports */
    unsigned rev;       /* rises per task, over all attempts */
    int percent;        /* the highest so far */
    char stage[33];     /* "" = none yet */
};
enum queue_update_kind { QUEUE_PROGRESS, QUEUE_PARTIAL, QUEUE_FINAL, QUEUE_LOG };
struct queue_update { /* NULL/NONE members leave the record unchanged */
    enum queue_update_kind kind;
    const char *id;
    unsigned fence, attempt;
    int percent;         /* QUEUE_PROGRESS */
    const char *stage;   /* QUEUE_PROGRESS */
    struct span message; /* QUEUE_PROGRESS, QUEUE_LOG: plain text */
    struct span meta;    /* JSON object */
    unsigned number;     /* FINAL, LOG: rises within an attempt; a repeated one is ignored; 0 = none */
    const char *task;    /* PROGRESS, PARTIAL: the task's type */
    struct queue_reported *reported; /* PROGRESS, PARTIAL: updated by the call, not kept */
};
/* Reports an update. The updates of a turn are sent in few calls: first starts, progress and partials,
 * then final pieces and log lines, then ends. The record keeps the last progress of each task, and every
 * update becomes an event; but of what a task reports while Redis is slow, progress and partials beyond 64
 * KiB are dropped, the oldest first. Progress never falls within an attempt. fn may be NULL and is never
 * called for progress and partials. */
void queue_update(struct queue *queue, const struct queue_update *update, queue_done_fn *fn, void *ctx);

enum queue_end_kind { /* how a lease ends */
                      QUEUE_COMPLETED,
                      QUEUE_FAILED,
                      QUEUE_CANCELLED,
                      QUEUE_DIED,     /* the task's process died without reporting: the second death fails the
                                         task */
                      QUEUE_RETURNED, /* given back, the attempt continues; the owner of one that had started
                                         is told why */
};
struct queue_end {
    enum queue_end_kind kind;
    const char *id;
    unsigned fence;
    struct span result; /* JSON text */
    struct span error_code, error;
    bool retry; /* QUEUE_FAILED: another attempt if any is left */
};
/* Ends a lease. Also QUEUE_OK if a cancel was acknowledged before: the task then ends `cancelled`. */
void queue_end(struct queue *queue, const struct queue_end *end, queue_done_fn *fn, void *ctx);
/* Gives back everything that earlier incarnations of this origin hold; a running task counts a death. */
void queue_reclaim(struct queue *queue, queue_done_fn *fn, void *ctx);

struct queue_beat_item {
    const char *id;
    unsigned fence;
};
typedef void queue_beat_fn(void *ctx, enum queue_code code, const struct queue_beat_item *lost,
                           size_t lost_count, const struct queue_beat_item *cancelled,
                           size_t cancelled_count);
/* Sends a heartbeat: renews the leases of these tasks and registers the process; `info` is the JSON object
 * that admin.workers shows. Tells which of the tasks this process no longer holds, and which are asked to
 * stop. */
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
    /* Set by cancel and retry, and for the task that a retry's key already stands for (QUEUE_DUPLICATE): */
    char id[ID_SIZE];
    char status[12], stage[33];
    uint64_t seq;
    int64_t at_ms;       /* retry: time of the accepted event */
    uint64_t retry_ms;   /* limits: when to try again */
    uint64_t used, most; /* QUEUE_QUOTA: bytes of the owner */
};
typedef void queue_answer_fn(void *ctx, const struct queue_answer *answer);
/* Reads one task, in the form of docs/protocol.md. QUEUE_NOT_FOUND, QUEUE_FORBIDDEN; so do the calls
 * below. */
void queue_get(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx);
struct queue_filter {
    const char *owner;          /* NULL = all owners (admin) */
    const char *asker;          /* whose reads take turns with those of others */
    const char *status, *task;  /* NULL = any */
    int64_t since_ms, until_ms; /* -1 = open */
    const char *cursor;         /* NULL = from the newest */
    unsigned limit;             /* 1–200 */
};
/* Reads a page of tasks, newest first, with the totals by status and the cursor of the next page. */
void queue_list(struct queue *queue, const struct queue_filter *filter, queue_answer_fn *fn, void *ctx);
/* Reads what a client needs after a gap: {"tasks":[…]}, all active ones and the newest that ended, at most
 * 200. */
void queue_snapshot(struct queue *queue, const char *owner, queue_answer_fn *fn, void *ctx);
/* Cancels a task: a waiting one ends at once; a running one is asked to stop, and its stage is
 * "cancelling". Also QUEUE_OK if it was cancelled before; QUEUE_STATE: it had ended otherwise. */
void queue_cancel(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
                  void *ctx);
struct queue_retry {       /* borrowed during the call */
    const char *id;        /* the failed or cancelled task */
    const char *new_id;    /* id for the new task */
    const char *own_arg;   /* the argument that must be absent or name the caller, NULL = none */
    const char *effect_id; /* of its idempotency key; NULL = it has none */
};
/* Submits a new task with the arguments (and audio) of a failed or cancelled one. In the answer id is the
 * new task, seq and at_ms belong to its accepted event: as with queue_submit(), the hub itself delivers
 * that event to its sockets. QUEUE_DUPLICATE, QUEUE_MISMATCH, QUEUE_STATE, QUEUE_INPUT_GONE, and the
 * limits with retry_ms. */
void queue_retry(struct queue *queue, const struct queue_caller *who, const struct queue_retry *retry,
                 queue_answer_fn *fn, void *ctx);
/* Explains why a task is where it is: one line for people, and the facts. */
void queue_why(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx);
/* Reads figures of the whole data set, and the processes that work on it: admin.stats, admin.workers. */
void queue_stats(struct queue *queue, queue_answer_fn *fn, void *ctx);
void queue_workers(struct queue *queue, queue_answer_fn *fn, void *ctx);

/* ---- audio ------------------------------------------------------------------------------------- */
struct queue_audio {
    enum queue_code code; /* QUEUE_STATE: the task or its stream has ended */
    uint64_t received;    /* bytes that stand in Redis */
    bool ended;
};
typedef void queue_audio_fn(void *ctx, const struct queue_audio *audio);
/* Appends bytes at `offset`; skips those that are already stored. One append per stream and turn. The
 * bytes are borrowed until fn is called or the queue is freed. */
void queue_audio_append(struct queue *queue, const char *owner, const char *id, uint64_t offset,
                        struct span bytes, queue_audio_fn *fn, void *ctx);
/* Ends the stream: no more bytes will come. Repeating it is QUEUE_OK, too. */
void queue_audio_end(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx);
/* Keeps these open streams for keep_ms from now; a stream that no hub keeps fails as "abandoned". At most
 * QUEUE_KEEP_MAX ids. */
#define QUEUE_KEEP_MAX 1000
void queue_audio_keep(struct queue *queue, const char *const *ids, size_t count, uint64_t keep_ms);
/* Takes over the stream, so that no other hub fails it as "abandoned"; tells its position. Checks the
 * owner. */
void queue_audio_take(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx);
/* Ends the task of a stream from outside, whoever runs it: failed with this code (flow, idle, aborted).
 * With "abandoned", only if no other hub has taken it over. */
void queue_audio_fail(struct queue *queue, const char *owner, const char *id, const char *code,
                      const char *error, queue_done_fn *fn, void *ctx);
/* Reads up to max_bytes from `offset`; the feed's on_audio tells when there are more. `total`: bytes
 * stored in Redis; `ended`: no more will come. */
typedef void queue_audio_data_fn(void *ctx, enum queue_code code, struct span bytes, bool ended,
                                 uint64_t total);
void queue_audio_read(struct queue *queue, const char *owner, const char *id, uint64_t offset,
                      size_t max_bytes, queue_audio_data_fn *fn, void *ctx);

/* ---- feeds (a second connection: subscriptions) -------------------------------------------------- */
struct queue_feed_hooks { /* NULL = not wanted; arguments are borrowed */
    void (*on_event)(void *ctx, const char *owner, struct event *event); /* caused by other origins */
    void (*on_bell)(void *ctx, const char *queue); /* this queue has work and had none before */
    void (*on_cancel)(void *ctx, const char *id, unsigned fence); /* for a task this worker holds */
    void (*on_audio)(void *ctx, const char *id);                  /* a stream has more bytes or ended */
    void (*on_admin)(void *ctx, const char *owner, struct event *event); /* admin.watch: every owner */
    void (*on_epoch)(
        void *ctx); /* the data set is another one, or an older state of it: positions are void */
    void *ctx;
};
struct queue_feed;
/* Makes the queue's only feed; `subscriber` is borrowed. Free the feed before the queue and the
 * subscriber. */
struct queue_feed *queue_feed_new(struct queue *queue, struct redis *subscriber,
                                  struct queue_feed_hooks hooks);
void queue_feed_free(struct queue_feed **feed);
/* Call in every on_up of the subscriber: subscribes again to everything wanted; a hub, to its own channel. */
void queue_feed_up(struct queue_feed *feed);
/* Starts calling on_bell for this queue; also once after each subscription, since work may have come
 * before it. */
void queue_feed_listen_bell(struct queue_feed *feed, const char *queue);
/* Starts calling on_cancel and on_audio for the tasks this process holds. */
void queue_feed_listen_control(struct queue_feed *feed);
/* Whether the subscriber of the queue's feed is connected; true without a feed. A holder that cannot be
 * reached by its channel must beat within 1.5 s, or it counts as dead. Loop thread. */
bool queue_is_heard(const struct queue *queue);
/* Starts calling on_admin with the events of every owner. fn is called once no later event can be missed;
 * or with QUEUE_UNAVAILABLE (perhaps before this returns): then call this again, or queue_feed_unwatch(). */
void queue_feed_watch(struct queue_feed *feed, queue_done_fn *fn, void *ctx);
/* Stops watching; calls of queue_feed_watch() not answered yet get QUEUE_OK now. */
void queue_feed_unwatch(struct queue_feed *feed);
/* The source of owners' logs and events for hub/owners; valid while the feed is. */
struct owner_source queue_feed_source(struct queue_feed *feed);
