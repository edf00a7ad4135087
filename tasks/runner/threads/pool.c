/* The pool of threads for light tasks: its lists, its threads and the loop's side; see pool.h. One lock
 * round per job on the thread, one per turn on the loop. Never calls back while it holds the lock. */
#include "tasks/runner/threads/pool.h"

#include "hub/base/clock.h"
#include "hub/config/options.h"
#include "hub/sql/db.h"
#include "tasks/runner/threads/pool_thread.h"

#include <signal.h>
#include <stdio.h>

_Thread_local struct pool_thread *pool_self;

bool pool_must_tell(struct pool *pool)
{
    bool must = !pool->told;
    pool->told = true;
    return must;
}

void pool_tell(struct pool *pool)
{
    uv_async_send(pool->async);
}

/* ---- threads ------------------------------------------------------------------------------------- */

/* With the lock held: waits for a job; NULL when the pool closes. */
static struct pool_job *next_job(struct pool *pool)
{
    while (list_empty(&pool->ready) && !pool->closing) {
        pool->idle++;
        pthread_cond_wait(&pool->work, &pool->lock);
        pool->idle--;
    }
    if (pool->closing)
        return NULL;
    pool->ready_count--;
    if (pool->ready_count && pool->idle)
        pthread_cond_signal(&pool->work);
    return container_of(list_pop(&pool->ready), struct pool_job, node);
}

/* One that was cancelled while it waited does nothing any more. */
static void run_job(struct pool *pool, struct pool_job *job)
{
    bool heard = job->listening;
    job->running = !atomic_load_explicit(&job->cancelled, memory_order_relaxed);
    if (!job->running) {
        task_fail(&job->ctx, (struct task_error){"cancelled", false}, "Cancelled before it ran");
        return;
    }
    pthread_mutex_unlock(&pool->lock);
    if (heard)
        pool_report_started(job);
    job->started_wall_ms = clock_wall_ms();
    task_ctx_run(&job->ctx, job->type->run);
    pthread_mutex_lock(&pool->lock);
}

static void *thread_main(void *arg)
{
    struct pool_thread *self = pool_self = arg;
    struct pool *pool = self->pool;
    pthread_mutex_lock(&pool->lock);
    for (struct pool_job *job; (job = next_job(pool)) != NULL;) {
        run_job(pool, job);
        list_append(&pool->done, &job->node);
        if (pool_must_tell(pool)) {
            pthread_mutex_unlock(&pool->lock);
            pool_tell(pool);
            pthread_mutex_lock(&pool->lock);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    db_close(&self->db);
    return NULL;
}

static void start_threads(struct pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop thread's */
    for (unsigned i = 0; i < pool->thread_count; i++) {
        char name[16];
        pool->threads[i].pool = pool;
        if (pthread_create(&pool->threads[i].id, NULL, thread_main, &pool->threads[i]) != 0)
            abort();
        snprintf(name, sizeof name, "light-%u", i % 100u);
        pthread_setname_np(pool->threads[i].id, name);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- the loop's side ----------------------------------------------------------------------------- */

static void hand_over(void *ctx)
{
    struct pool *pool = ctx;
    if (pool->staged_count == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    list_splice(&pool->ready, &pool->staged);
    pool->ready_count += pool->staged_count;
    bool wake = pool->idle > 0;
    pthread_mutex_unlock(&pool->lock);
    pool->staged_count = 0;
    if (wake)
        pthread_cond_signal(&pool->work);
}

static void deliver_reports(struct pool *pool, struct list *reports)
{
    for (struct list *node; (node = list_pop(reports)) != NULL;) {
        struct pool_report *report = container_of(node, struct pool_report, node);
        pool->config.report(pool->config.ctx, report);
        free(report);
    }
}

static void deliver_calls(struct pool *pool, struct list *calls)
{
    for (struct list *node; (node = list_pop(calls)) != NULL;) {
        struct pool_call *call = container_of(node, struct pool_call, node);
        char *service = call->service;
        json_t *args = call->args; /* both are taken out: the call may be freed by its answer */
        call->service = NULL;
        call->args = NULL;
        list_append(&pool->asked, node);
        pool->config.call(pool->config.ctx, call->job, service, args, pool_call_answer, call);
        json_decref(args);
        free(service);
    }
}

/* The pool goes: calls nobody was asked for are freed, the others by their answers. */
static void drop_calls(struct pool *pool)
{
    for (struct list *node; (node = list_pop(&pool->calls)) != NULL;)
        pool_call_free(container_of(node, struct pool_call, node));
    for (struct list *node; (node = list_pop(&pool->asked)) != NULL;)
        container_of(node, struct pool_call, node)->pool = NULL;
}

static void deliver_done(struct pool *pool, struct list *done)
{
    for (struct list *node; (node = list_pop(done)) != NULL;) {
        struct pool_job *job = container_of(node, struct pool_job, node);
        free(job->held);
        job->held = NULL;
        pool->load--;
        job->done(job);
    }
}

/* Takes everything the threads have for the loop and delivers it: reports before the ends they precede. */
static void fetch(struct pool *pool)
{
    struct list done, reports, calls;
    list_init(&done);
    list_init(&reports);
    list_init(&calls);
    pthread_mutex_lock(&pool->lock);
    list_splice(&done, &pool->done);
    list_splice(&reports, &pool->reports);
    list_splice(&calls, &pool->calls);
    bool was_full = pool->report_count >= POOL_REPORTS_MAX;
    pool->report_count = 0;
    pool->told = false;
    pthread_mutex_unlock(&pool->lock);
    if (was_full)
        pthread_cond_broadcast(&pool->wake);
    deliver_reports(pool, &reports);
    deliver_calls(pool, &calls);
    deliver_done(pool, &done);
}

static void on_async(uv_async_t *async)
{
    fetch(async->data);
}

void pool_poll(struct pool *pool)
{
    fetch(pool);
}

bool pool_submit(struct pool *pool, struct pool_job *job)
{
    if (pool->closing || pool->load >= pool->config.max_queued + pool->thread_count)
        return false;
    pool->load++;
    pool->staged_count++;
    list_append(&pool->staged, &job->node);
    return true;
}

unsigned pool_load(const struct pool *pool)
{
    return pool->load;
}

void pool_job_init(struct pool *pool, struct pool_job *job, const struct task_type *type)
{
    struct task_ctx *ctx = &job->ctx;
    list_init(&job->node);
    job->type = type;
    atomic_store_explicit(&job->cancelled, false, memory_order_relaxed);
    job->started_wall_ms = 0;
    job->held = NULL;
    job->reported_ms = 0;
    job->listening = job->running = false;
    ctx->ops = &pool_ctx_ops;
    ctx->options = pool->config.options;
    ctx->type = type->name;
    ctx->args_text = SPAN_NONE;
    ctx->args = NULL;
    ctx->percent = 0;
    ctx->stage[0] = ctx->message[0] = ctx->error_code[0] = '\0';
    ctx->log_lines = 0;
    ctx->ended = ctx->failed = ctx->retry = false;
    ctx->result = ctx->error = NULL;
}

/* With the lock held: the report held back, which leaves the job. */
static struct pool_report *take_held(struct pool_job *job)
{
    struct pool_report *held = job->held;
    if (held) {
        job->held = NULL;
        job->reported_ms = clock_mono_ms();
    }
    return held;
}

void pool_listen(struct pool *pool, struct pool_job *job)
{
    struct pool_report started = {.kind = POOL_STARTED, .job = job};
    pthread_mutex_lock(&pool->lock);
    job->listening = true;
    bool running = job->running;
    struct pool_report *held = take_held(job);
    pthread_mutex_unlock(&pool->lock);
    if (running)
        pool->config.report(pool->config.ctx, &started);
    if (held)
        pool->config.report(pool->config.ctx, held);
    free(held);
}

void pool_collect(struct pool *pool, struct pool_job *job)
{
    pthread_mutex_lock(&pool->lock);
    /* Reports of the job that are on their way are older than the one held: they must go first. */
    struct pool_report *held = list_empty(&pool->reports) ? take_held(job) : NULL;
    pthread_mutex_unlock(&pool->lock);
    if (held)
        pool->config.report(pool->config.ctx, held);
    free(held);
}

bool pool_runs(struct pool *pool, struct pool_job *job)
{
    pthread_mutex_lock(&pool->lock);
    bool running = job->running;
    pthread_mutex_unlock(&pool->lock);
    return running;
}

void pool_cancel(struct pool *pool, struct pool_job *job)
{
    pthread_mutex_lock(&pool->lock);
    atomic_store(&job->cancelled, true);
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
}

/* ---- life ---------------------------------------------------------------------------------------- */

struct pool *pool_new(struct loop *loop, const struct pool_config *config)
{
    unsigned threads = config->threads ? config->threads : 1;
    struct pool *pool = xcalloc(1, sizeof *pool + threads * sizeof pool->threads[0]);
    pthread_condattr_t attr;
    pool->loop = loop;
    pool->config = *config;
    pool->thread_count = threads;
    list_init(&pool->staged);
    list_init(&pool->ready);
    list_init(&pool->done);
    list_init(&pool->reports);
    list_init(&pool->calls);
    list_init(&pool->asked);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->wake, &attr);
    pthread_condattr_destroy(&attr);
    json_object_seed(0); /* before threads race for it */
    pool->async = xcalloc(1, sizeof *pool->async);
    if (uv_async_init(&loop->uv, pool->async, on_async) < 0)
        abort();
    pool->async->data = pool;
    loop_hook(loop, LOOP_STAGE_POOL, hand_over, pool);
    start_threads(pool);
    return pool;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

/* Jobs that never ran end as interrupted. */
static void interrupt(struct pool *pool, struct list *jobs)
{
    list_for_each (node, jobs) {
        struct pool_job *job = container_of(node, struct pool_job, node);
        task_fail(&job->ctx, (struct task_error){"interrupted", true}, "The hub stopped");
    }
    list_splice(&pool->done, jobs);
}

void pool_free(struct pool **pool_ptr)
{
    struct pool *pool = *pool_ptr;
    if (pool == NULL)
        return;
    *pool_ptr = NULL;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->work);
    pthread_cond_broadcast(&pool->wake);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i].id, NULL);
    list_splice(&pool->ready, &pool->staged);
    interrupt(pool, &pool->ready);
    drop_calls(pool);
    fetch(pool);
    loop_unhook(pool->loop, LOOP_STAGE_POOL, hand_over, pool);
    uv_close((uv_handle_t *)pool->async, free_handle);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->wake);
    free(pool);
}
