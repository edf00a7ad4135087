/* The inside of the worker's parent, shared by its files: worker.c (life, Redis, drain), worker_lease.c (what
 * comes from the queue), worker_task.c (what becomes of a task), worker_stream.c (audio). Loop thread. */
#pragma once

#include "hub/redis/redis.h"
#include "tasks/runner/slots/slots.h"
#include "tasks/worker/worker.h"

#define WORKER_BUCKETS 1024 /* of the table of held tasks */
#define WORKER_EARLY 32

struct worker;

enum held {           /* what is still to be done for a task this worker holds */
            HELD_RUN, /* it runs, or waits in a slot */
            HELD_END, /* its end is to be written */
};

struct worker_task { /* one leased task, until Redis has its end */
    struct slot_job job;
    struct worker *worker;
    struct list node; /* of worker.tasks */
    struct list bucket;
    char id[ID_SIZE];
    enum held held;
    bool begun;      /* it started here */
    bool told_begun; /* and Redis knows, or is being told */
    bool telling;    /* its end is on the way */
    bool lost;       /* the lease is somebody else's: nothing more is written */
    unsigned calls;  /* calls that will come back to this object */
    enum queue_end_kind end_kind;
    bool end_retry;
    char *end_text; /* result, code and error behind each other */
    size_t result_size, code_size, error_size;
    struct list finals; /* struct final: pieces that Redis does not have yet */
    unsigned numbered;  /* the last one's number */
    struct queue_reported reported;

    /* of a stream */
    uint64_t read, taken; /* bytes read from Redis; of them, read by the task */
    bool reading, ended;
    char text[]; /* the owner, NUL-terminated, and the arguments: see job */
};

struct worker_lane {
    struct worker *worker;
    enum slot_lane which;
    unsigned asked; /* by the lease that is on the way */
    bool leasing;
    bool hungry; /* there may be something to lease */
    bool rang;   /* and it was said while a lease was on the way */
};

struct early { /* a cancel that came before its task */
    char id[ID_SIZE];
    uint64_t at_ms;
};

struct worker {
    const struct options *options;
    const char *name, *version;
    char host[65];
    char started_at[25];
    struct loop loop;
    struct redis *commands, *subscriber;
    struct queue *queue;
    struct queue_feed *feed;
    struct slots *slots;
    char trouble[128]; /* why Redis did not answer last; "" while it does */
    bool ready;        /* Redis answers and the functions are loaded */
    bool loading;      /* they are being loaded */
    bool reclaimed;    /* what the predecessor of this name held was given back */
    bool draining, killed;
    uint64_t drain_end_ms, exit_by_ms;
    struct worker_lane lanes[LANES];
    struct list tasks;
    struct list questions; /* to services, without an answer yet */
    struct list buckets[WORKER_BUCKETS];
    unsigned task_count;
    uint64_t done;
    struct early early[WORKER_EARLY];
    unsigned early_at;
    uv_timer_t second, beat, due;
    uv_signal_t signals[2];
    bool stopped;
};

/* ---- worker_lease.c ---- */
/* Leases for every lane that has room and may find something; once per turn. */
void worker_lease(struct worker *worker);
/* Whether tasks may still come: a lease is on its way. */
bool worker_expects(const struct worker *worker);
/* Work may be waiting: in this lane, in all. */
void worker_hungry(struct worker *worker, enum slot_lane lane);
void worker_hungry_all(struct worker *worker);
/* A cancel came whose task is not here yet. */
void worker_remember_cancel(struct worker *worker, const char *id);

/* ---- worker_task.c ---- */
struct worker_task *worker_task_new(struct worker *worker, const struct queue_leased *leased);
struct worker_task *worker_task_find(struct worker *worker, const char *id);
/* It does not run here: ends it with this outcome. */
void worker_task_refuse(struct worker_task *task, enum queue_end_kind kind, const char *code,
                        const char *error);
void worker_task_cancel(struct worker_task *task);
/* Redis says that the lease is not ours any more. */
void worker_task_lose(struct worker_task *task);
/* Tells Redis again what it did not take the first time. */
void worker_tell_again(struct worker *worker);
void worker_task_free(struct worker_task *task);
/* At the end: no answer will come any more. */
void worker_forget_questions(struct worker *worker);
extern const struct slots_hooks worker_slots_hooks;

/* ---- worker_stream.c ---- */
/* Reads on in the task's stream, if it has one and the task has room. */
void worker_stream_read(struct worker_task *task);
void worker_stream_taken(struct worker_task *task, uint64_t total);
