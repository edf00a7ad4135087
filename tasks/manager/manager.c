/* SPDX-License-Identifier: MIT */
/* The one door for submissions: checks, routing, bounds and the answer; and what becomes of a light one until
 * it is the runner's (recorded and leased) or recorded with its end. See manager.h. Loop thread. */
#include "tasks/manager/manager.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/base/quota.h"
#include "hub/base/table.h"
#include "hub/config/options.h"
#include "tasks/queue/event_text.h"
#include "tasks/queue/shard.h"
#include "tasks/runner/runner.h"
#include "tasks/runner/threads/threads.h"

#include <stdio.h>

#define ARGS_MAX 32         /* declared arguments of one type */
#define RETRY_BUSY_MS 1000  /* what a client is told to wait when something is full or down */
#define UNDER_WAY_MAX 10000 /* heavy submissions that Redis has not answered yet */
#define FUSE_WAITING 5      /* times light.fuse_us for a task that waits for a thread */
#define POLL_MS 1000        /* how often expired leases are looked for */

enum submission_state {
    SUBMISSION_NONE, /* a run that came from the queue has no submission */
    SUBMISSION_NEW,
    SUBMISSION_INTERNAL,  /* of manager_run_internal(): never recorded */
    SUBMISSION_FIRST,     /* it runs and is not recorded */
    SUBMISSION_RECORDING, /* a call that records it is under way */
    SUBMISSION_ANSWERED,
};

struct submission { /* the holder's part of a run */
    enum submission_state state;
    struct list node; /* of manager.running */
    struct manager *manager;
    struct run *run;
    task_reply_fn *reply;
    manager_internal_fn *internal;
    void *ctx;                   /* of either */
    struct charge charge;        /* light: of its owner's; heavy: of what is under way */
    struct task_request request; /* its spans are borrowed during submit */
    bool events_held;            /* until the answer; task_reply.news says so */
    uint64_t submitted_us;
    bool keyed;                    /* it has an idempotency key: run.effect_id is the key's */
    struct table_node node_of_key; /* in manager.keyed, while it is the key's first */
    struct list behind;            /* submissions of its key that came meanwhile, by their node */
    struct event_text end;         /* of one that is recorded with it */
};

struct manager {
    struct manager_config config;
    struct runner *runner;
    struct run_lane *lane;  /* of light tasks */
    struct quota light;     /* tasks in flight, per owner */
    struct quota recording; /* heavy submissions under way */
    struct list running;    /* SUBMISSION_FIRST, oldest first */
    struct table keyed;     /* the first submission of each idempotency key that is not recorded, by effect */
    uv_timer_t *fuse_timer;
    bool draining, closing;
};

static void submission_become(struct submission *submission, enum submission_state to)
{
    static const unsigned from[] = {
        [SUBMISSION_NEW] = 1u << SUBMISSION_NONE,
        [SUBMISSION_INTERNAL] = 1u << SUBMISSION_NEW,
        [SUBMISSION_FIRST] = 1u << SUBMISSION_NEW,
        [SUBMISSION_RECORDING] = 1u << SUBMISSION_NEW | 1u << SUBMISSION_FIRST,
        [SUBMISSION_ANSWERED] = 1u << SUBMISSION_RECORDING | 1u << SUBMISSION_NEW | 1u << SUBMISSION_FIRST,
    };
    if (!(from[to] >> submission->state & 1))
        abort();
    if (submission->state == SUBMISSION_FIRST)
        list_remove(&submission->node);
    if (to == SUBMISSION_FIRST)
        list_append(&submission->manager->running, &submission->node);
    submission->state = to;
}

/* ---- checks: everything that needs no Redis, in the order of the answers --------------------------- */

static const struct task_type *find_type(const struct manager *manager, const char *name)
{
    const struct task_type *type = task_type_find(name);
    return type && type->diagnostics && !manager->config.options->diagnostics ? NULL : type;
}

static bool args_fit(const struct task_type *type, struct span args, struct json_field_error *error)
{
    struct span values[ARGS_MAX];
    if (args.p && json_kind_of(args) != KIND_OBJECT) {
        snprintf(error->field, sizeof error->field, "args");
        snprintf(error->message, sizeof error->message, "args: must be an object");
        return false;
    }
    return json_match(args, type->args, type->arg_count, values, error) &&
           (type->check == NULL || type->check(values, error));
}

/* Whether the arguments (which fit) name nobody but the caller, or the caller may. */
static bool names_own(const struct task_type *type, const struct task_request *request)
{
    if (type->owner_arg == NULL || request->args.p == NULL || request->who->roles & ROLE_ADMIN)
        return true;
    struct span value = json_get(request->args, type->owner_arg);
    char owner[OWNER_SIZE];
    return value.p == NULL || (owner_of_json(value, owner) && strcmp(owner, request->who->user_id) == 0);
}

static enum task_refusal check_type(const struct manager *manager, const struct task_request *request,
                                    const struct task_type *type, struct json_field_error *error)
{
    if (!principal_may_submit(request->who, type->name))
        return TASK_TYPE_NOT_IN_TOKEN;
    if (type->admin && !(request->who->roles & ROLE_ADMIN))
        return TASK_ROLE;
    if (type->stream != request->stream)
        return type->stream ? TASK_NEEDS_STREAM : TASK_NO_STREAM;
    if (request->args.n > (size_t)manager->config.options->args_bytes)
        return TASK_ARGS_TOO_LARGE;
    if (!args_fit(type, request->args, error))
        return TASK_BAD_ARGS;
    return names_own(type, request) ? TASK_ACCEPTED : TASK_ROLE;
}

static const struct task_type *check(const struct manager *manager, const struct task_request *request,
                                     struct task_reply *ret)
{
    const struct task_type *type = ret->type = find_type(manager, request->task);
    ret->refusal = type ? check_type(manager, request, type, &ret->error) : TASK_UNKNOWN_TYPE;
    return ret->refusal == TASK_ACCEPTED ? type : NULL;
}

/* ---- answers --------------------------------------------------------------------------------------- */

static void reply_to(struct submission *submission, struct task_reply *reply)
{
    reply->type = submission->run->type;
    reply->news.owner = submission->run->owner;
    reply->news.task_id = submission->run->id;
    reply->news.held = submission->events_held;
    submission_become(submission, SUBMISSION_ANSWERED);
    submission->reply(submission->ctx, reply);
}

/* Refused before it ran or was recorded. */
static void refuse(struct submission *submission, enum task_refusal refusal, uint64_t retry_ms)
{
    struct task_reply reply = {.refusal = refusal, .retry_ms = retry_ms};
    metric_add(METRIC_TASKS_REFUSED, 1);
    reply_to(submission, &reply);
    runner_drop(submission->run);
}

static enum task_refusal refusal_of(enum queue_code code)
{
    static const enum task_refusal refusals[] = {
        [QUEUE_OK] = TASK_ACCEPTED,       [QUEUE_DUPLICATE] = TASK_DUPLICATE,
        [QUEUE_MISMATCH] = TASK_MISMATCH, [QUEUE_USER_LIMIT] = TASK_USER_LIMIT,
        [QUEUE_QUOTA] = TASK_QUOTA,       [QUEUE_GLOBAL_LIMIT] = TASK_GLOBAL_LIMIT};
    bool known = code < NELEMS(refusals) && (code == QUEUE_OK || refusals[code]);
    return known ? refusals[code] : TASK_UNAVAILABLE;
}

/* What a call that recorded the task says to its client. */
static void reply_recorded(struct submission *submission, const struct queue_submitted *submitted)
{
    struct task_reply reply = {.refusal = refusal_of(submitted->code),
                               .seq = submitted->seq,
                               .at_ms = submitted->at_ms,
                               .retry_ms = submitted->retry_ms ? submitted->retry_ms : RETRY_BUSY_MS,
                               .used = submitted->used,
                               .most = submitted->most,
                               .delayed = submission->request.delay_ms > 0};
    memcpy(reply.id, submitted->id, sizeof reply.id);
    memcpy(reply.status, submitted->status, sizeof reply.status);
    if (reply.refusal == TASK_ACCEPTED) {
        reply.news.event = submitted->event;
        reply.news.seq = submitted->event ? 0 : reply.seq;
        metric_add(METRIC_LIGHT_ONCE, submitted->event != NULL);
        metric_add(submission->run->type->kind == TASK_LIGHT ? METRIC_TASKS_LIGHT : METRIC_TASKS_HEAVY, 1);
    } else if (reply.refusal != TASK_DUPLICATE) {
        metric_add(METRIC_TASKS_REFUSED, 1);
    }
    reply_to(submission, &reply);
}

static unsigned max_attempts_of(const struct task_type *type)
{
    return type->max_attempts ? type->max_attempts : 3;
}

/* A call to record it. */
static struct queue_submit record_of(const struct submission *submission, const char *queue)
{
    const struct run *run = submission->run;
    const struct task_type *type = run->type;
    const struct task_request *request = &submission->request;
    return (struct queue_submit){
        .id = run->id,
        .owner = run->owner,
        .task = type->name,
        .queue = queue,
        .args = request->args.p ? request->args : run->args,
        .effect_id = submission->keyed ? run->effect_id : NULL,
        .priority = request->priority,
        .delay_ms = request->delay_ms,
        .expires_ms = request->expires_ms,
        .max_attempts = max_attempts_of(type),
        .backoff_base_ms = type->backoff_base_ms ? type->backoff_base_ms : 1000,
        .backoff_cap_ms = type->backoff_cap_ms ? type->backoff_cap_ms : 60000,
        .light = type->kind == TASK_LIGHT,
        .stream = request->stream,
    };
}

/* ---- what waits behind a submission --------------------------------------------------------------- */

static void record(struct submission *submission);

/* Redis knows of this one now, or will not: it answers those of the same key that came meanwhile. */
static void let_behind_go(struct submission *submission)
{
    struct manager *manager = submission->manager;
    if (submission->node_of_key.key.p == NULL)
        return;
    table_remove(&manager->keyed, &submission->node_of_key);
    submission->node_of_key.key = SPAN_NONE;
    for (struct list *node; (node = list_pop(&submission->behind)) != NULL;) {
        struct submission *next = container_of(node, struct submission, node);
        if (manager->closing)
            runner_drop(next->run);
        else
            record(next);
    }
}

/* Nothing of it concerns the manager any more. */
static void leave(struct submission *submission)
{
    let_behind_go(submission);
    charge_give(&submission->charge);
    submission->run->gone = NULL;
}

/* ---- route "queue": recorded in Redis for the workers ------------------------------------------------ */

/* Its record stands, or does not (then the outcome of one that ran is dropped): that was all. */
static void on_told(void *ctx, const struct queue_submitted *submitted)
{
    struct submission *submission = ctx;
    leave(submission);
    reply_recorded(submission, submitted);
    runner_drop(submission->run);
}

static void submit_queue(struct submission *submission)
{
    struct manager *manager = submission->manager;
    const struct run *run = submission->run;
    if (!charge_take(&submission->charge, &manager->recording, QUOTA_ONE, 1, UNDER_WAY_MAX)) {
        refuse(submission, TASK_BUSY, RETRY_BUSY_MS);
        return;
    }
    struct queue_submit call = record_of(submission, run->type->queue ? run->type->queue : "default");
    submission_become(submission, SUBMISSION_RECORDING);
    submission->events_held = true;
    owners_hold(manager->config.owners, run->owner, run->id);
    queue_submit(manager->config.queue, &call, on_told, submission);
}

/* ---- route "threads": recorded first ------------------------------------------------------------------ */

/* Its record stands, or does not: then what it does on a thread is told to nobody. */
static void on_recorded(void *ctx, const struct queue_submitted *submitted)
{
    struct submission *submission = ctx;
    bool leased = submitted->code == QUEUE_OK && submission->request.delay_ms == 0;
    reply_recorded(submission, submitted);
    let_behind_go(submission);
    if (leased)
        runner_adopt(submission->run, submitted->fence);
    else
        runner_drop(submission->run);
}

/* Records it, leased to this hub unless it shall wait; one that has not run yet runs then. */
static void record(struct submission *submission)
{
    struct queue_submit call = record_of(submission, "light");
    call.lease = call.delay_ms == 0;
    submission_become(submission, SUBMISSION_RECORDING);
    queue_submit(submission->manager->config.queue, &call, on_recorded, submission);
}

/* ---- route "threads": run first, recorded with its end ------------------------------------------------ */

/* The call that records it with its end. */
static struct queue_submit record_once(struct submission *submission)
{
    const struct run *run = submission->run;
    bool failed = run->end.kind == QUEUE_FAILED;
    struct queue_submit call = record_of(submission, "light");
    call.started_ms = (uint64_t)run->began_ms;
    call.end = &submission->end;
    submission->end = (struct event_text){.code = failed ? 'X' : 'C',
                                          .attempt = 1,
                                          .progress = failed ? 0 : 100,
                                          .id = span_of(run->id),
                                          .task = span_of(run->type->name),
                                          .owner = span_of(run->owner),
                                          .error_code = run->end.error_code,
                                          .error = run->end.error,
                                          .result = run->end.result};
    submission_become(submission, SUBMISSION_RECORDING);
    return call;
}

/* A first failure that may be tried again needs a record to wait in. */
static bool wants_retry(const struct run *run)
{
    return run->end.kind == QUEUE_FAILED && run->end.retry && max_attempts_of(run->type) > 1;
}

static void end_internal(struct submission *submission)
{
    const struct queue_end *end = &submission->run->end;
    bool failed = end->kind != QUEUE_COMPLETED;
    char code[33] = "busy"; /* QUEUE_RETURNED: there was no room for it */
    if (end->kind == QUEUE_FAILED)
        snprintf(code, sizeof code, "%.*s", SPAN_ARG(end->error_code));
    submission->internal(submission->ctx, failed, failed ? code : NULL, failed ? end->error : end->result);
    runner_drop(submission->run);
}

static bool on_done(void *holder, struct queue_submit *ret_record)
{
    struct submission *submission = holder;
    if (submission->state == SUBMISSION_INTERNAL) {
        end_internal(submission);
    } else if (submission->manager->closing) {
        runner_drop(submission->run); /* its outcome goes nowhere */
    } else if (submission->state == SUBMISSION_FIRST && submission->run->end.kind == QUEUE_RETURNED) {
        refuse(submission, TASK_BUSY, RETRY_BUSY_MS);
    } else if (submission->state == SUBMISSION_FIRST && wants_retry(submission->run)) {
        record(submission);
    } else if (submission->state == SUBMISSION_FIRST) {
        *ret_record = record_once(submission);
        return true;
    }
    return false; /* one that is being recorded: on_recorded() goes on */
}

/* Whether the oldest task has had its time. One that no thread has begun with gets more of it (and so do
 * those behind it, which mostly wait, too): waiting is no sign that it is a long one. */
static bool fuse_is_over(const struct manager *manager, struct submission *oldest, uint64_t now)
{
    uint64_t fuse_us = (uint64_t)manager->config.options->light_fuse_us, age_us = now - oldest->submitted_us;
    if (age_us < fuse_us)
        return false;
    return age_us >= FUSE_WAITING * fuse_us || oldest->run->began_ms;
}

static void arm_fuse(struct manager *manager);

static struct submission *oldest_of(const struct manager *manager)
{
    return container_of(manager->running.next, struct submission, node);
}

/* Every task that has been running for too long is recorded. */
static void on_fuse_timer(uv_timer_t *timer)
{
    struct manager *manager = timer->data;
    runner_poll(manager->runner); /* timers come first in a turn: what is done must not count as late */
    uint64_t now = clock_mono_us();
    while (!list_empty(&manager->running) && fuse_is_over(manager, oldest_of(manager), now))
        record(oldest_of(manager));
    if (!list_empty(&manager->running))
        arm_fuse(manager);
}

static void arm_fuse(struct manager *manager)
{
    uint64_t due = oldest_of(manager)->submitted_us + (uint64_t)manager->config.options->light_fuse_us;
    uint64_t now = clock_mono_us();
    uv_timer_start(manager->fuse_timer, on_fuse_timer, due > now ? (due - now + 999) / 1000 : 1, 0);
}

static void run_first(struct submission *submission)
{
    struct manager *manager = submission->manager;
    submission->submitted_us = clock_mono_us();
    bool first = list_empty(&manager->running);
    submission_become(submission, SUBMISSION_FIRST);
    if (first)
        arm_fuse(manager);
    runner_run_first(submission->run);
}

/* What shall wait, or must not run twice, must stand in Redis before it runs; a heavy type that was routed
 * here is counted in the limits there. */
static bool must_record_first(const struct submission *submission)
{
    const struct task_request *request = &submission->request;
    const struct task_type *type = submission->run->type;
    return request->delay_ms || request->expires_ms || !type->repeatable || type->kind == TASK_HEAVY;
}

/* Whether another submission of its key runs here: then it waits behind that one. */
static bool waits_behind(struct submission *submission)
{
    struct manager *manager = submission->manager;
    struct span key = {submission->run->effect_id, ID_SIZE - 1};
    struct table_node *node = submission->keyed ? table_find(&manager->keyed, key) : NULL;
    if (node) {
        list_append(&container_of(node, struct submission, node_of_key)->behind, &submission->node);
    } else if (submission->keyed) {
        submission->node_of_key.key = key;
        table_insert(&manager->keyed, &submission->node_of_key);
    }
    return node != NULL;
}

static bool charge_owner(struct submission *submission)
{
    struct manager *manager = submission->manager;
    return charge_take(&submission->charge, &manager->light, span_of(submission->run->owner), 1,
                       (size_t)manager->config.options->user_light);
}

static void submit_threads(struct submission *submission)
{
    if (!charge_owner(submission)) {
        refuse(submission, TASK_USER_LIMIT, 100);
        return;
    }
    run_set_args(submission->run, submission->request.args);
    submission->request.args = SPAN_NONE; /* they are the run's now */
    if (must_record_first(submission))
        record(submission);
    else if (!waits_behind(submission))
        run_first(submission);
}

/* ---- the door ---------------------------------------------------------------------------------------- */

static void (*const routes[])(struct submission *submission) = {
    [ROUTE_THREADS] = submit_threads,
    [ROUTE_QUEUE] = submit_queue,
};

static struct submission *submission_new(struct manager *manager, const struct task_type *type,
                                         struct span owner, void *ctx)
{
    struct run *run = run_new(manager->lane, type, owner);
    struct submission *submission = run_holder(run);
    submission->manager = manager;
    submission->run = run;
    submission->ctx = ctx;
    list_init(&submission->node);
    list_init(&submission->behind);
    submission_become(submission, SUBMISSION_NEW);
    return submission;
}

static void name_effect(struct submission *submission)
{
    struct run *run = submission->run;
    submission->keyed = submission->request.idempotency_key.n > 0;
    if (submission->keyed)
        queue_effect_id(run->effect_id, run->owner, submission->request.idempotency_key);
    else
        memcpy(run->effect_id, run->id, ID_SIZE);
}

static bool is_open(const struct manager *manager)
{
    const struct redis *redis = queue_redis(manager->config.queue);
    return !manager->draining && redis_is_up(redis) && !redis_is_stalled(redis);
}

void task_manager_submit(struct manager *manager, const struct task_request *request, task_reply_fn *fn,
                         void *ctx)
{
    struct task_reply reply;
    reply = (struct task_reply){.retry_ms = 0};
    const struct task_type *type = check(manager, request, &reply);
    if (type && !is_open(manager)) {
        reply.refusal = TASK_UNAVAILABLE;
        reply.retry_ms = RETRY_BUSY_MS;
    }
    if (reply.refusal != TASK_ACCEPTED) {
        metric_add(METRIC_TASKS_REFUSED, 1);
        reply.news.owner = request->who->user_id;
        fn(ctx, &reply);
        return;
    }
    struct submission *submission = submission_new(manager, type, span_of(request->who->user_id), ctx);
    submission->reply = fn;
    submission->request = *request;
    shard_task_id(submission->run->id, span_of(request->who->user_id));
    name_effect(submission);
    routes[task_type_route(type)](submission);
}

enum task_refusal manager_run_internal(struct manager *manager, const struct task_type *type,
                                       const char *owner, struct span args, manager_internal_fn *fn,
                                       void *ctx)
{
    struct submission *submission = submission_new(manager, type, span_of(owner), ctx);
    struct run *run = submission->run;
    submission->internal = fn;
    submission_become(submission, SUBMISSION_INTERNAL);
    run->id[0] = run->effect_id[0] = '\0';
    run_set_args(run, args);
    if (!charge_owner(submission)) {
        runner_drop(run);
        return TASK_USER_LIMIT;
    }
    runner_run_first(run);
    return TASK_ACCEPTED;
}

/* ---- life -------------------------------------------------------------------------------------------- */

void manager_cancel_local(struct manager *manager, const char *id)
{
    runner_cancel(manager->runner, id, 0);
}

void manager_redis(struct manager *manager, bool up)
{
    if (up)
        runner_up(manager->runner);
    else if (!redis_is_up(queue_redis(manager->config.queue))) /* leases are kept without events, too */
        runner_down(manager->runner);
}

void manager_bell(struct manager *manager)
{
    runner_bell(manager->runner, NULL);
}

unsigned manager_load(const struct manager *manager)
{
    return runner_load(manager->runner);
}

void manager_drain(struct manager *manager, uint64_t patience_ms, void (*fn)(void *ctx), void *ctx)
{
    manager->draining = true;
    runner_drain(manager->runner, patience_ms, fn, ctx);
}

static void on_gone(void *holder)
{
    struct submission *submission = holder;
    if (submission->state != SUBMISSION_NONE)
        leave(submission);
}

static void write_info(void *ctx, struct buf *to)
{
    const struct manager *manager = ctx;
    buf_printf(to, "{\"kind\":\"hub\",\"queues\":[\"light\"],\"running\":%u}", runner_load(manager->runner));
}

struct manager *manager_new(const struct manager_config *config)
{
    static const struct engine *const engines[] = {&threads_engine, NULL};
    struct manager *manager = xcalloc(1, sizeof *manager);
    manager->config = *config;
    list_init(&manager->running);
    manager->fuse_timer = loop_timer(config->loop, manager);
    manager->runner = runner_new(&(struct runner_config){
        .loop = config->loop,
        .options = config->options,
        .queue = config->queue,
        .engines = engines,
        .holder_size = sizeof(struct submission),
        .poll_ms = POLL_MS,
        .hooks = {.done = on_done, .recorded = on_told, .gone = on_gone, .info = write_info},
        .ctx = manager,
    });
    manager->lane = runner_lane(manager->runner, "light");
    return manager;
}

void manager_free(struct manager **manager_ptr)
{
    struct manager *manager = *manager_ptr;
    if (manager == NULL)
        return;
    *manager_ptr = NULL;
    manager->closing = true;
    runner_free(&manager->runner);
    loop_close(manager->fuse_timer);
    table_free(&manager->keyed);
    quota_free(&manager->light);
    quota_free(&manager->recording);
    free(manager);
}
