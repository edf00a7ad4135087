/* The one door for submissions: checks, bounds, routing to an executor, and the answer; see manager.h. What
 * becomes of light tasks is in light.c and light_lease.c. Loop thread. */
#include "tasks/manager/manager.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/config/options.h"
#include "tasks/manager/submission.h"
#include "tasks/queue/services.h"
#include "tasks/queue/shard.h"

#include <unistd.h>

#define FREE_MAX 1024 /* submissions kept for reuse */

/* ---- the object ---------------------------------------------------------------------------------- */

struct task_submission *submission_new(struct manager *manager, const struct task_type *type,
                                       struct span owner)
{
    struct list *node = list_pop(&manager->free);
    struct task_submission *submission;
    if (node) {
        submission = container_of(node, struct task_submission, node);
        manager->free_count--;
    } else {
        submission = xmalloc(sizeof *submission);
        list_init(&submission->node);
    }
    submission->manager = manager;
    submission->type = type;
    submission->reply = NULL;
    submission->internal = NULL;
    submission->user = NULL;
    submission->state = LIGHT_RUNNING;
    submission->in_pool = submission->finished = submission->started = false;
    submission->cancel = submission->lost = submission->held = false;
    submission->reported = (struct queue_reported){0};
    submission->args = submission->inline_args;
    submission->args_size = 0;
    submission->id[0] = '\0';
    memcpy(submission->owner, owner.p, owner.n);
    submission->owner[owner.n] = '\0';
    pool_job_init(manager->pool, &submission->job, type);
    submission->job.ctx.id = submission->id;
    submission->job.ctx.owner = submission->owner;
    submission->job.ctx.attempt = 1;
    return submission;
}

void submission_copy_args(struct task_submission *submission, struct span args)
{
    if (args.n > ARGS_INLINE)
        submission->args = xmalloc(args.n);
    if (args.n)
        memcpy(submission->args, args.p, args.n);
    submission->args_size = args.n;
    submission->job.ctx.args_text = (struct span){args.n ? submission->args : "{}", args.n ? args.n : 2};
}

static struct light_user *user_of(struct manager *manager, const char *id)
{
    struct table_node *node = table_find(&manager->users, span_of(id));
    if (node)
        return container_of(node, struct light_user, node);
    struct light_user *user = xmalloc(sizeof *user);
    user->count = 0;
    memcpy(user->id, id, strlen(id) + 1);
    user->node.key = span_of(user->id);
    table_insert(&manager->users, &user->node);
    return user;
}

bool submission_count(struct task_submission *submission)
{
    struct manager *manager = submission->manager;
    submission->user = user_of(manager, submission->owner);
    return submission->user->count++ < (unsigned)manager->config.options->user_light;
}

static void uncount(struct task_submission *submission)
{
    struct light_user *user = submission->user;
    if (user && --user->count == 0) {
        table_remove(&submission->manager->users, &user->node);
        free(user);
    }
    submission->user = NULL;
}

void submission_free(struct task_submission *submission)
{
    struct manager *manager = submission->manager;
    list_remove(&submission->node);
    uncount(submission);
    task_ctx_clear(&submission->job.ctx);
    if (submission->args != submission->inline_args)
        free(submission->args);
    if (manager->free_count < FREE_MAX) {
        manager->free_count++;
        list_append(&manager->free, &submission->node);
    } else {
        free(submission);
    }
    manager->load--;
    if (manager->load == 0 && manager->drained) {
        void (*drained)(void *ctx) = manager->drained;
        manager->drained = NULL;
        drained(manager->drained_ctx);
    }
}

/* ---- answers ------------------------------------------------------------------------------------- */

void submission_reply(struct task_submission *submission, struct task_reply *reply)
{
    task_reply_fn *fn = submission->reply;
    if (fn == NULL)
        return;
    submission->reply = NULL;
    reply->news.owner = submission->owner;
    reply->type = submission->type;
    reply->news.task_id = submission->id;
    reply->news.held = submission->held;
    fn(submission->reply_ctx, reply);
}

void submission_refuse(struct task_submission *submission, enum task_refusal refusal, uint64_t retry_ms)
{
    struct task_reply reply = {.refusal = refusal, .retry_ms = retry_ms};
    metric_add(METRIC_TASKS_REFUSED, 1);
    submission_reply(submission, &reply);
}

static enum task_refusal refusal_of(enum queue_code code)
{
    static const struct {
        enum queue_code code;
        enum task_refusal refusal;
    } rows[] = {
        {QUEUE_OK, TASK_ACCEPTED},
        {QUEUE_DUPLICATE, TASK_DUPLICATE},
        {QUEUE_MISMATCH, TASK_MISMATCH},
        {QUEUE_USER_LIMIT, TASK_USER_LIMIT},
        {QUEUE_GLOBAL_LIMIT, TASK_GLOBAL_LIMIT},
    };
    for (size_t i = 0; i < NELEMS(rows); i++)
        if (rows[i].code == code)
            return rows[i].refusal;
    return TASK_UNAVAILABLE;
}

void submission_recorded(struct task_submission *submission, const struct queue_submitted *submitted)
{
    struct task_reply reply = {.refusal = refusal_of(submitted->code),
                               .seq = submitted->seq,
                               .at_ms = submitted->at_ms,
                               .retry_ms = submitted->retry_ms ? submitted->retry_ms : RETRY_BUSY_MS};
    memcpy(reply.id, submitted->id, sizeof reply.id);
    memcpy(reply.status, submitted->status, sizeof reply.status);
    if (reply.refusal == TASK_ACCEPTED) {
        reply.news.seq = reply.seq;
        metric_add(submission->type->kind == TASK_LIGHT ? METRIC_TASKS_LIGHT : METRIC_TASKS_HEAVY, 1);
    } else if (reply.refusal != TASK_DUPLICATE) {
        metric_add(METRIC_TASKS_REFUSED, 1);
    }
    submission_reply(submission, &reply);
}

unsigned max_attempts_of(const struct task_type *type)
{
    return type->max_attempts ? type->max_attempts : 3;
}

struct queue_submit submission_record(const struct task_submission *submission, const char *queue)
{
    const struct task_type *type = submission->type;
    const struct task_request *request = &submission->request;
    return (struct queue_submit){
        .id = submission->id,
        .owner = submission->owner,
        .task = type->name,
        .queue = queue,
        .args =
            submission->args_size ? (struct span){submission->args, submission->args_size} : request->args,
        .idempotency_key = request->idempotency_key,
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

/* ---- submit -------------------------------------------------------------------------------------- */

static const struct executor *route(const struct manager *manager, const struct task_type *type)
{
    const struct options *options = manager->config.options;
    char word[32];
    const char *name =
        options->routes && options->routes[0] ? options_route(options, type->name, word) : NULL;
    const struct executor *executor = name ? executor_find(name) : NULL;
    if (executor)
        return executor;
    return type->kind == TASK_LIGHT ? &executor_threads : &executor_queue;
}

static void refuse(const struct task_request *request, struct task_reply *reply, task_reply_fn *fn, void *ctx)
{
    metric_add(METRIC_TASKS_REFUSED, 1);
    reply->news.owner = request->who->user_id;
    fn(ctx, reply);
}

void task_manager_submit(struct manager *manager, const struct task_request *request, task_reply_fn *fn,
                         void *ctx)
{
    struct task_reply reply;
    reply = (struct task_reply){.retry_ms = 0};
    const struct task_type *type = manager_check(manager, request, &reply);
    const struct redis *redis = queue_redis(manager->config.queue);
    if (type && (manager->draining || !redis_is_up(redis) || redis_is_stalled(redis))) {
        reply.refusal = TASK_UNAVAILABLE;
        reply.retry_ms = RETRY_BUSY_MS;
    }
    if (reply.refusal != TASK_ACCEPTED) {
        refuse(request, &reply, fn, ctx);
        return;
    }
    struct task_submission *submission = submission_new(manager, type, span_of(request->who->user_id));
    manager->load++;
    submission->reply = fn;
    submission->reply_ctx = ctx;
    submission->request = *request;
    shard_task_id(submission->id, span_of(request->who->user_id));
    route(manager, type)->submit(manager, submission);
}

/* ---- requests that need a thread ------------------------------------------------------------------ */

static void on_internal_done(struct pool_job *job)
{
    struct task_submission *submission = container_of(job, struct task_submission, job);
    const struct task_ctx *ctx = &job->ctx;
    const char *text = ctx->failed ? ctx->error : ctx->result ? ctx->result : "{}";
    submission->internal(submission->reply_ctx, ctx->failed, ctx->failed ? ctx->error_code : NULL,
                         span_of(text));
    submission_free(submission);
}

enum task_refusal manager_run_internal(struct manager *manager, const struct task_type *type,
                                       const char *owner, struct span args, manager_internal_fn *fn,
                                       void *ctx)
{
    struct task_submission *submission = submission_new(manager, type, span_of(owner));
    manager->load++;
    submission_copy_args(submission, args);
    submission->internal = fn;
    submission->reply_ctx = ctx;
    submission->job.done = on_internal_done;
    bool counted = submission_count(submission);
    if (counted && pool_submit(manager->pool, &submission->job))
        return TASK_ACCEPTED;
    submission_free(submission);
    return counted ? TASK_BUSY : TASK_USER_LIMIT;
}

/* A running task asks a service (tasks/queue/services.h). */
static void on_call(void *ctx, struct pool_job *job, const char *name, const json_t *args,
                    void (*reply)(void *reply_ctx, json_t *answer), void *reply_ctx)
{
    struct manager *manager = ctx;
    const struct service *service = service_find(name, job->type->name);
    if (service)
        service->call(manager->config.queue, job->ctx.owner, args, reply, reply_ctx);
    else
        reply(reply_ctx, NULL);
}

/* ---- life ---------------------------------------------------------------------------------------- */

unsigned manager_load(const struct manager *manager)
{
    return manager->load;
}

void manager_drain(struct manager *manager, void (*fn)(void *ctx), void *ctx)
{
    manager->draining = true;
    manager->drained = fn;
    manager->drained_ctx = ctx;
    if (manager->load == 0) {
        manager->drained = NULL;
        fn(ctx);
    }
}

static unsigned thread_count(const struct options *options)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (options->light_threads > 0)
        return (unsigned)options->light_threads;
    return cores > 1 ? (unsigned)(cores > 65 ? 64 : cores - 1) : 1;
}

/* A route that names no executor of this build is said once, at start. */
static void check_routes(const struct options *options)
{
    char word[32];
    for (const struct task_type *const *type = task_type_all(); *type; type++) {
        const char *name = options_route(options, (*type)->name, word);
        if (name && executor_find(name) == NULL)
            log_error("the route names no executor of this build; the type's own is used", "task",
                      (*type)->name, "executor", name);
    }
}

struct manager *manager_new(const struct manager_config *config)
{
    struct manager *manager = xcalloc(1, sizeof *manager);
    const struct options *options = config->options;
    manager->config = *config;
    list_init(&manager->running);
    list_init(&manager->leased);
    list_init(&manager->unended);
    list_init(&manager->free);
    struct pool_config pool = {.threads = thread_count(options),
                               .max_queued = (unsigned)options->light_queue,
                               .coalesce_ms = (unsigned)options->progress_coalesce_ms,
                               .options = options,
                               .call = on_call,
                               .report = light_report,
                               .ctx = manager};
    manager->pool = pool_new(config->loop, &pool);
    light_init(manager);
    light_lease_init(manager);
    check_routes(options);
    return manager;
}

void manager_free(struct manager **manager_ptr)
{
    struct manager *manager = *manager_ptr;
    if (manager == NULL)
        return;
    *manager_ptr = NULL;
    manager->draining = true;
    manager->drained = NULL;
    light_deinit(manager);
    light_lease_deinit(manager);
    pool_free(&manager->pool);
    for (struct list *node; (node = list_pop(&manager->free)) != NULL;)
        free(container_of(node, struct task_submission, node));
    table_free(&manager->users);
    free(manager);
}
