/* One accepted request on its way, and the inside of the manager that its parts share: manager.c (the
 * door), manager_check.c, executors, light tasks. Loop thread only. */
#pragma once

#include "hub/base/table.h"
#include "tasks/manager/manager.h"

#define ARGS_INLINE 256    /* arguments up to this size live in the object */
#define RETRY_BUSY_MS 1000 /* what a client is told to wait when something is full or down */

struct light_user { /* an owner's light tasks in flight */
    struct table_node node;
    unsigned count;
    char id[USER_ID_MAX + 1];
};

enum light_state {
    LIGHT_RUNNING,   /* with the pool, not recorded */
    LIGHT_RECORDING, /* the call that records it is under way */
    LIGHT_LEASED,    /* recorded and leased to this hub */
    LIGHT_ENDING,    /* its end is being recorded */
    LIGHT_UNENDED,   /* Redis did not take its end: tried again when it answers */
};

struct task_submission {
    struct list node; /* in manager.running, .leased or .unended, or in the free list */
    struct manager *manager;
    const struct task_type *type;
    task_reply_fn *reply; /* NULL once answered, and for leased tasks */
    void *reply_ctx;
    manager_internal_fn *internal; /* of manager_run_internal() */
    struct light_user *user;       /* counted; NULL = not */

    struct task_request request; /* during submit only: its spans are borrowed */
    enum light_state state;
    bool in_pool;  /* the pool has the job */
    bool finished; /* the job is done */
    bool started;  /* queue_started() was called */
    bool cancel;   /* somebody cancelled it */
    bool lost;     /* no record, or a lease that is not ours any more: the outcome is dropped */
    bool held;     /* manager_config.hold was called */
    struct queue_reported reported;
    unsigned fence; /* of the lease */
    uint64_t submitted_us;
    int64_t created_ms;
    char id[ID_SIZE];
    char owner[USER_ID_MAX + 1];
    char *args; /* inline_args or malloc */
    size_t args_size;
    char inline_args[ARGS_INLINE];
    struct pool_job job;
};

struct manager {
    struct manager_config config;
    struct pool *pool;
    struct table users;
    struct list running; /* LIGHT_RUNNING, oldest first */
    struct list leased;  /* LIGHT_LEASED and LIGHT_ENDING: beaten for */
    struct list unended; /* LIGHT_UNENDED: beaten for, too */
    struct list free;    /* submissions to use again */
    unsigned free_count;
    unsigned load; /* light submissions alive */
    unsigned heavy_under_way;
    uv_timer_t *fuse_timer, *tick, *collect;
    uint64_t beaten_ms;
    bool leasing, lease_again, reclaimed, draining;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ---- manager.c ---- */
struct task_submission *submission_new(struct manager *manager, const struct task_type *type,
                                       struct span owner);
void submission_copy_args(struct task_submission *submission, struct span args);
/* Counts it among what its owner has in flight on the pool, until it is freed; false if that is too much. */
bool submission_count(struct task_submission *submission) MUSTCHECK;
/* Gives the object back; whoever drains is told when it was the last. */
void submission_free(struct task_submission *submission);
/* Answers the request, if it was not answered yet; fills what every reply has. */
void submission_reply(struct task_submission *submission, struct task_reply *reply);
/* The same for a refusal. */
void submission_refuse(struct task_submission *submission, enum task_refusal refusal, uint64_t retry_ms);
/* What a call that recorded the task says to its client. */
void submission_recorded(struct task_submission *submission, const struct queue_submitted *submitted);
/* Fills a call to record it. */
struct queue_submit submission_record(const struct task_submission *submission, const char *queue);
unsigned max_attempts_of(const struct task_type *type);

/* ---- manager_check.c: everything that needs no Redis ---- */
/* The type, if the principal may submit it with these arguments; else NULL and the reason in *ret. */
const struct task_type *manager_check(const struct manager *manager, const struct task_request *request,
                                      struct task_reply *ret);

/* ---- light.c: light tasks with the pool, fused or leased ---- */
void light_init(struct manager *manager);
void light_deinit(struct manager *manager);
/* Hands it to the pool, recorded or not. False if the pool is full. */
bool light_run(struct task_submission *submission) MUSTCHECK;
/* Records it, leased to this hub unless it shall wait; one that has not run yet runs then. */
void light_record(struct task_submission *submission);

/* ---- light_lease.c: leases of recorded light tasks: taking, keeping, reporting, ending ---- */
void light_lease_init(struct manager *manager);
void light_lease_deinit(struct manager *manager);
/* It was just recorded or leased to this hub. */
void light_leased(struct task_submission *submission);
/* Its job is done: records the end. */
void light_end(struct task_submission *submission);
/* A running task that stands in Redis said something (pool_config.report). */
void light_report(void *ctx, const struct pool_report *report);
/* Leases waiting light tasks to this hub, if it has room. */
void light_take(struct manager *manager);

extern const struct executor executor_threads, executor_queue;
