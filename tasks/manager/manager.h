/* SPDX-License-Identifier: MIT */
/* TaskManager: the one door for submissions. Looks up the type, checks role, arguments and limits, and takes
 * the route that configuration names: the threads of this hub (whose runner it owns) or the workers' queue.
 * Loop thread only. */
#pragma once

#include "hub/auth/principal.h"
#include "hub/json/json.h"
#include "tasks/model/task_type.h"
#include "tasks/queue/queue.h"

struct manager;

struct manager_config {
    const struct options *options;
    struct queue *queue;
    struct loop *loop;
    struct owners *owners; /* events of a task that others may run are held until it was answered */
};
/* Copies `config`; what it points to must outlive the manager. Starts the threads. */
struct manager *manager_new(const struct manager_config *config);
/* Running light tasks are told to stop and waited for; their leases expire or are reclaimed. Call after
 * queue_free(), whose last callbacks still come here. */
void manager_free(struct manager **manager);

struct task_request { /* borrowed during the call */
    const struct principal *who;
    const char *task;            /* its type's name */
    struct span args;            /* JSON object text, SPAN_NONE = {} */
    struct span idempotency_key; /* decoded */
    unsigned priority;
    uint64_t delay_ms, expires_ms;
    bool stream; /* from audio.start */
};
enum task_refusal {
    TASK_ACCEPTED,
    TASK_DUPLICATE,
    TASK_UNKNOWN_TYPE,
    TASK_BAD_ARGS,
    TASK_ROLE,
    TASK_TYPE_NOT_IN_TOKEN,
    TASK_ARGS_TOO_LARGE,
    TASK_USER_LIMIT,
    TASK_QUOTA,
    TASK_GLOBAL_LIMIT,
    TASK_BUSY,
    TASK_MISMATCH,
    TASK_UNAVAILABLE,
    TASK_NEEDS_STREAM,
    TASK_NO_STREAM,
};
struct task_reply {
    enum task_refusal refusal;
    const struct task_type *type; /* NULL for TASK_UNKNOWN_TYPE */
    char id[ID_SIZE];             /* of a duplicate the older task's */
    char status[12];
    uint64_t seq;  /* of the task's newest logged event; of a duplicate, where the owner's log stands */
    int64_t at_ms; /* TASK_ACCEPTED: time of the accepted event */
    uint64_t retry_ms;
    uint64_t used, most;           /* TASK_QUOTA: bytes of the owner */
    bool delayed;                  /* it was submitted with a delay, which has a limit of its own */
    struct json_field_error error; /* TASK_BAD_ARGS */
    /* What must come behind the reply; owner and task_id (the id this submission was given) always stand,
     * held says whether its events are held, event is the end of a light task that has ended
     * already. */
    struct owner_news news;
};
typedef void task_reply_fn(void *ctx, const struct task_reply *reply);
/* Checks type, role, arguments and limits, and takes the route of the type. fn is called once, with what
 * became of it (task_reply.refusal); before the function returns where neither Redis nor the pool is asked.
 */
void task_manager_submit(struct manager *manager, const struct task_request *request, task_reply_fn *fn,
                         void *ctx);

/* Runs an unlisted light type on the pool, without record and event: for requests that need SQL. `result`
 * is JSON text when it did not fail, else the error text; it fails with "busy" if the pool is full. Counts in
 * the owner's bound of light tasks: TASK_USER_LIMIT if that is reached (fn is not called then), else
 * TASK_ACCEPTED. */
typedef void manager_internal_fn(void *ctx, bool failed, const char *error_code, struct span result);
enum task_refusal manager_run_internal(struct manager *manager, const struct task_type *type,
                                       const char *owner, struct span args, manager_internal_fn *fn,
                                       void *ctx) MUSTCHECK;

/* Stops a light task that stands in Redis and runs here, if there is one: the queue has acknowledged its
 * cancel, and its end follows. */
void manager_cancel_local(struct manager *manager, const char *id);
/* Everything at Redis is there (again), or not any more: commands and events. The first time, leases of this
 * hub's previous life go back. Without events alone, leases are kept. */
void manager_redis(struct manager *manager, bool up);
/* The feed rang for light work: lease some. */
void manager_bell(struct manager *manager);
/* Submissions without an answer, and light tasks that wait or run here. */
unsigned manager_load(const struct manager *manager);
/* No new tasks. What still waits or runs after `patience_ms` is stopped and given back, for other hubs; fn is
 * called when nothing is left, or soon after that. */
void manager_drain(struct manager *manager, uint64_t patience_ms, void (*fn)(void *ctx), void *ctx);
