/* SPDX-License-Identifier: MIT */
/* The pool of threads: decides which job runs when, and on which thread. Takes runs once per turn and hands
 * them over under one lock; runs that ended come back as one list per wake-up. What a job may do while it
 * runs is in reports.c. run() of a job is called on a pool thread, all else on the loop thread unless noted.
 * Never calls a hook while it holds the lock. Lanes: no thread belongs to a lane, but the jobs of a lane hold
 * at most `width` threads. A job of the quick lane that holds its thread for too long moves to the slow lane
 * together with its thread, and its type stays there until it has been quick for a while. Where slow jobs
 * fill their lane, as many more begin, of owners who have none there. The lane of requests always has its
 * `width` threads. A lane is first come, first served until something has waited for
 * a tick; then its owners take turns. */
#include "tasks/runner/threads/threads_private.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/config/options.h"
#include "hub/sql/db.h"
#include "tasks/store/schema.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define ROOM 64           /* most tasks leased at once */
#define TICK_MS 20        /* how often the pool looks for jobs that wait or run for long */
#define EXTRA_THREADS 16  /* extra threads that replace those held by jobs that turned out to be slow */
#define SLOW_TYPES_MAX 32 /* most types remembered as slow */
#define QUICK_AGAIN 16    /* quick runs in a row after which such a type counts as quick again */

struct line { /* the jobs of one owner that wait in a lane; exists only while there are any */
    struct table_node by_owner;
    struct list node;
    struct list jobs;
    bool runs; /* only newcomer() uses it: a job of the owner runs in this lane */
};

struct lane {
    unsigned load_max;  /* load of the pool from which on the lane's jobs are refused */
    struct list staged; /* loop thread: jobs taken in this turn */
    unsigned staged_count;
    /* guarded by the pool's lock: */
    struct list unsorted; /* in order of arrival, not in a line yet */
    struct list turns;    /* struct line, in turn; served before `unsorted` */
    struct table owners;  /* struct line, by owner */
    unsigned waiting;     /* jobs waiting in `unsorted` and `turns` */
    unsigned added;       /* jobs added since the last tick */
    unsigned busy;        /* threads that run the lane's jobs */
    unsigned most;        /* how many there may be: `width`, or one more than there are, for the next job */
};

struct pool {
    struct loop *loop;
    const struct options *options;
    const struct engine_hooks *hooks;
    struct list *staged; /* lists for hooks->next */
    unsigned width;      /* most threads of a lane */
    struct slow_type {
        const struct task_type *type;
        unsigned quick;           /* quick runs in a row since */
    } slow_types[SLOW_TYPES_MAX]; /* loop thread */
    unsigned slow_type_count;
    unsigned load;    /* loop thread: jobs that were taken and have not ended */
    uv_timer_t *tick; /* runs while there are jobs */
    struct reports reports;
    struct crossing crossing;

    /* guarded by the lock: */
    pthread_cond_t work;            /* a job waits, or the pool closes */
    struct lane lanes[LIGHT_LANES]; /* jobs for the threads */
    struct list done;               /* for the loop thread */
    unsigned idle;
    bool calling; /* a thread was signalled or started and has not taken a job yet */

    unsigned thread_count, thread_max;
    struct pool_thread {
        struct pool *pool;
        pthread_t id;
        struct job *job; /* the job it runs */
        struct lane *lane;
        unsigned ticks; /* ticks that have found it with this job */
        struct db *db;  /* the thread's own, opened on first use */
    } threads[];
};

static _Thread_local struct pool_thread *self; /* NULL outside of a pool thread */

/* ---- threads ------------------------------------------------------------------------------------- */

struct db *thread_db(struct task_ctx *ctx)
{
    if (self->db == NULL)
        self->db = store_open(ctx->options);
    return self->db;
}

static void *thread_main(void *arg);

static bool add_thread(struct pool *pool)
{
    struct pool_thread *thread = &pool->threads[pool->thread_count];
    sigset_t all, before;
    char name[16];
    if (pool->thread_count == pool->thread_max)
        return false;
    thread->pool = pool;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the loop thread */
    bool made = pthread_create(&thread->id, NULL, thread_main, thread) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!made) {
        log_warn("no thread could be made for light tasks"); /* the next tick tries again */
        return false;
    }
    snprintf(name, sizeof name, "light-%u", pool->thread_count++ % 1000u);
    pthread_setname_np(thread->id, name);
    return true;
}

/* Calls one more thread to look for work. With the lock held; returns whether `work` must be signalled after
 * unlocking. */
static bool call_thread(struct pool *pool)
{
    if (pool->calling || (pool->idle == 0 && !add_thread(pool)))
        return false;
    pool->calling = true;
    return pool->idle > 0;
}

/* Whether one more job of the lane may run. With the lock held. */
static bool may_run(const struct pool *pool, const struct lane *lane)
{
    const struct lane *lanes = pool->lanes;
    return lane->waiting && lane->busy < lane->most &&
           (lanes[LIGHT_QUICK].busy + lanes[LIGHT_SLOW].busy < pool->thread_max - pool->width ||
            lane == &lanes[LIGHT_REQUEST]);
}

/* The lane whose next job a free thread should take; NULL = none. With the lock held. */
static struct lane *choose(struct pool *pool)
{
    struct lane *best = NULL;
    struct lane *lane = pool->lanes, *end = lane + LIGHT_LANES;
    for (; lane < end && (best == NULL || best->busy); lane++)
        if (may_run(pool, lane) && (best == NULL || lane->busy < best->busy))
            best = lane;
    return best;
}

/* As call_thread(), for a lane that has work and no thread; the tick serves the others. With the lock
 * held. */
static bool call_for_idle_lane(struct pool *pool)
{
    const struct lane *lane = choose(pool);
    return lane && lane->busy == 0 && call_thread(pool);
}

/* Takes a waiting job, of the owner whose turn it is. With the lock held. */
static struct job *take_job(struct lane *lane)
{
    lane->waiting--;
    if (list_empty(&lane->turns))
        return container_of(list_pop(&lane->unsorted), struct job, run.place);
    struct line *line = container_of(list_pop(&lane->turns), struct line, node);
    struct list *node = list_pop(&line->jobs);
    if (!list_empty(&line->jobs)) {
        list_append(&lane->turns, &line->node);
    } else {
        table_remove(&lane->owners, &line->by_owner);
        free(line);
    }
    return container_of(node, struct job, run.place);
}

/* Waits for a job and takes it; NULL when the pool closes. With the lock held. */
static struct job *next_job(struct pool *pool)
{
    struct lane *lane;
    while ((lane = choose(pool)) == NULL && !pool->crossing.closing) {
        pool->idle++;
        pthread_cond_wait(&pool->work, &pool->crossing.lock);
        pool->idle--;
        pool->calling = false;
    }
    if (pool->crossing.closing)
        return NULL;
    lane->busy++;
    lane->most = pool->width;
    self->lane = lane;
    self->job = take_job(lane);
    self->ticks = 0;
    if (call_for_idle_lane(pool))
        pthread_cond_signal(&pool->work);
    return self->job;
}

/* Runs the job, unless it was cancelled while it waited. */
static void run_job(struct pool *pool, struct job *job)
{
    bool wants_reports = job->listening;
    job->running = !atomic_load_explicit(&job->cancelled, memory_order_relaxed);
    if (!job->running) {
        task_fail(&job->ctx, (struct task_error){"cancelled", false}, "Cancelled before it ran");
        return;
    }
    pthread_mutex_unlock(&pool->crossing.lock);
    if (wants_reports)
        report_started(job);
    atomic_store_explicit(&job->run.began_ms, clock_wall_ms(), memory_order_relaxed);
    job->run.type->run(&job->ctx);
    task_ctx_returned(&job->ctx);
    pthread_mutex_lock(&pool->crossing.lock);
}

static void *thread_main(void *arg)
{
    self = arg;
    struct pool *pool = self->pool;
    pthread_mutex_lock(&pool->crossing.lock);
    pool->calling = false;
    for (struct job *job; (job = next_job(pool)) != NULL;) {
        run_job(pool, job);
        self->job = NULL;
        list_append(&pool->done, &job->run.place);
        if (crossing_put(&pool->crossing)) {
            pthread_mutex_unlock(&pool->crossing.lock);
            uv_async_send(pool->crossing.async);
            pthread_mutex_lock(&pool->crossing.lock);
        }
        self->lane->busy--;
    }
    pthread_mutex_unlock(&pool->crossing.lock);
    db_close(&self->db);
    return NULL;
}

/* ---- lanes --------------------------------------------------------------------------------------- */

static struct slow_type *find_slow_type(struct pool *pool, const struct task_type *type)
{
    for (unsigned i = 0; i < pool->slow_type_count; i++)
        if (pool->slow_types[i].type == type)
            return &pool->slow_types[i];
    return NULL;
}

static struct lane *lane_of(struct pool *pool, const struct task_type *type)
{
    bool slow = type->lane == LIGHT_QUICK && (type->kind == TASK_HEAVY || find_slow_type(pool, type));
    return &pool->lanes[slow ? LIGHT_SLOW : type->lane];
}

static void mark_slow(struct pool *pool, const struct task_type *type)
{
    struct slow_type *slow_type = find_slow_type(pool, type);
    if (slow_type == NULL)
        slow_type = &pool->slow_types[pool->slow_type_count < SLOW_TYPES_MAX ? pool->slow_type_count++ : 0];
    *slow_type = (struct slow_type){.type = type};
}

/* Learns from a run whether its type is slow; ignores runs that failed or were stopped. */
static void count_quick_run(struct pool *pool, const struct job *job)
{
    struct slow_type *slow_type = find_slow_type(pool, job->run.type);
    if (slow_type && !job->slow && !job->ctx.failed && ++slow_type->quick == QUICK_AGAIN)
        *slow_type = pool->slow_types[--pool->slow_type_count];
}

/* Moves jobs of slow types that wait in the quick lane to the slow lane. With the lock held. */
static void move_slow_jobs(struct pool *pool)
{
    struct lane *quick = &pool->lanes[LIGHT_QUICK];
    for (unsigned count = quick->waiting; count; count--) {
        struct job *job = take_job(quick);
        struct lane *lane = lane_of(pool, job->run.type);
        list_append(&lane->unsorted, &job->run.place);
        lane->waiting++;
    }
}

/* Counts one more tick of the thread's job; moves a job that is too long to the slow lane. With the lock
 * held. */
static void count_tick(struct pool *pool, struct pool_thread *thread)
{
    unsigned slow_ticks = (unsigned)pool->options->light_slow_ms / TICK_MS + 1;
    if (thread->job == NULL || thread->lane == &pool->lanes[LIGHT_REQUEST] || ++thread->ticks != slow_ticks)
        return;
    thread->job->slow = true;
    mark_slow(pool, thread->job->run.type);
    thread->lane->busy--;
    thread->lane = &pool->lanes[LIGHT_SLOW];
    thread->lane->busy++;
    move_slow_jobs(pool);
}

static struct line *line_of(struct lane *lane, struct span owner)
{
    struct table_node *node = table_find(&lane->owners, owner);
    if (node)
        return container_of(node, struct line, by_owner);
    struct line *line = table_new(&lane->owners, sizeof *line, owner);
    list_init(&line->jobs);
    list_append(&lane->turns, &line->node);
    return line;
}

/* Sorts the jobs into lines by owner if some have waited for a whole tick; returns whether that is so. With
 * the lock held. */
static bool sort_into_lines(struct lane *lane)
{
    bool old = lane->waiting > lane->added;
    lane->added = 0;
    for (struct list *node; old && (node = list_pop(&lane->unsorted)) != NULL;)
        list_append(&line_of(lane, span_of(container_of(node, struct job, run.place)->run.owner))->jobs,
                    node);
    return old;
}

static void mark_running(struct pool *pool, const struct lane *lane, bool runs)
{
    for (struct pool_thread *thread = pool->threads; thread < pool->threads + pool->thread_count; thread++) {
        bool here = thread->job && thread->lane == lane;
        struct table_node *node = here ? table_find(&lane->owners, span_of(thread->job->run.owner)) : NULL;
        if (node)
            container_of(node, struct line, by_owner)->runs = runs;
    }
}

/* The first in turn of the owners who have no job running in this lane; NULL = none. With the lock held. */
static struct line *newcomer(struct pool *pool, struct lane *lane)
{
    struct line *found = NULL;
    mark_running(pool, lane, true);
    for (struct list *node = lane->turns.next; node != &lane->turns && found == NULL; node = node->next)
        if (!container_of(node, struct line, node)->runs)
            found = container_of(node, struct line, node);
    mark_running(pool, lane, false);
    return found;
}

/* Where slow jobs fill their lane, lets one more begin next, of an owner who has none there. With the lock
 * held. */
static void let_newcomer_in(struct pool *pool)
{
    struct lane *lane = &pool->lanes[LIGHT_SLOW];
    bool full = lane->busy >= pool->width && lane->busy < 2 * pool->width;
    struct line *line = full ? newcomer(pool, lane) : NULL;
    lane->most = line ? lane->busy + 1 : pool->width;
    if (line) {
        list_remove(&line->node);
        list_append(lane->turns.next, &line->node); /* before the first */
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct pool *pool = timer->data;
    bool old = false;
    pthread_mutex_lock(&pool->crossing.lock);
    for (unsigned i = 0; i < pool->thread_count; i++)
        count_tick(pool, &pool->threads[i]);
    for (unsigned i = 0; i < LIGHT_LANES; i++)
        old |= sort_into_lines(&pool->lanes[i]);
    let_newcomer_in(pool);
    bool call = old && choose(pool) && call_thread(pool);
    pthread_mutex_unlock(&pool->crossing.lock);
    if (call)
        pthread_cond_signal(&pool->work);
    if (pool->load == 0)
        uv_timer_stop(timer);
}

/* ---- the loop's side ----------------------------------------------------------------------------- */

/* Reports the end; takes the outcome's texts from the context. */
static void deliver_end(struct pool *pool, struct job *job)
{
    static const enum queue_end_kind kinds[] = {
        [STOP_NONE] = QUEUE_FAILED, [STOP_CANCEL] = QUEUE_CANCELLED, [STOP_DRAIN] = QUEUE_RETURNED};
    struct task_ctx *ctx = &job->ctx;
    struct queue_end end = {.kind = ctx->failed ? kinds[job->why] : QUEUE_COMPLETED, .retry = ctx->retry};
    char **text = ctx->failed ? &ctx->error : &ctx->result, *taken = *text;
    *(ctx->failed ? &end.error : &end.result) = taken ? span_of(taken) : SPAN("{}");
    if (ctx->failed)
        end.error_code = span_of(ctx->error_code);
    *text = NULL;
    task_ctx_clear(ctx);
    pool->hooks->ended(&job->run, &end, taken);
}

static void deliver_done(struct pool *pool, struct list *done)
{
    for (struct list *node; (node = list_pop(done)) != NULL;) {
        struct job *job = container_of(node, struct job, run.place);
        if (job->kept || job->listening)
            reports_forget(job);
        pool->load--;
        count_quick_run(pool, job);
        if (job->why == STOP_LOST) {
            task_ctx_clear(&job->ctx);
            pool->hooks->ended(&job->run, NULL, NULL);
        } else {
            deliver_end(pool, job);
        }
    }
}

/* Takes everything the threads have left for the loop and delivers it: reports before the ends they
 * precede. */
static void fetch(void *engine)
{
    struct pool *pool = engine;
    struct list done, said;
    list_init(&done);
    list_init(&said);
    pthread_mutex_lock(&pool->crossing.lock);
    list_splice(&done, &pool->done);
    if (pool->reports.count)
        reports_take(&pool->reports, &said);
    pool->crossing.notified = false;
    pthread_mutex_unlock(&pool->crossing.lock);
    if (!list_empty(&said))
        reports_deliver(&pool->reports, &said);
    deliver_done(pool, &done);
    metric_set(METRIC_LIGHT_QUEUED, pool->load);
}

static void on_async(uv_async_t *async)
{
    fetch(async->data);
}

static unsigned room(void *engine, unsigned lane)
{
    const struct pool *pool = engine;
    (void)lane;
    return pool->load > (unsigned)pool->options->light_queue / 2 ? 0 : ROOM;
}

/* Adds the run to its lane; returns it to the runner if there is no room. */
static void admit(struct pool *pool, struct run *run)
{
    struct job *job = container_of(run, struct job, run);
    struct lane *lane = lane_of(pool, run->type);
    if (pool->load >= lane->load_max) {
        pool->hooks->returned(run);
        return;
    }
    memset(&job->slow, 0, offsetof(struct job, ctx) - offsetof(struct job, slow));
    job->reports = &pool->reports;
    if (run->state == RUN_LEASED)
        reports_listen(job);
    task_ctx_init(&job->ctx, &job_ctx_ops, pool->options, run->type);
    job->ctx.id = run->id;
    job->ctx.effect_id = run->effect_id;
    job->ctx.owner = run->owner;
    job->ctx.attempt = run->attempt;
    job->ctx.args_text = run->args;
    pool->load++;
    lane->staged_count++;
    list_append(&lane->staged, &run->place);
}

/* Takes what the runner has staged and hands it to the threads. */
static void hand_over(void *ctx)
{
    struct pool *pool = ctx;
    if (list_empty(pool->staged))
        return;
    for (struct run *run; (run = pool->hooks->next(pool->staged)) != NULL;)
        admit(pool, run);
    pthread_mutex_lock(&pool->crossing.lock);
    for (struct lane *lane = pool->lanes; lane < pool->lanes + LIGHT_LANES; lane++) {
        if (lane->staged_count == 0)
            continue;
        list_splice(&lane->unsorted, &lane->staged);
        lane->waiting += lane->staged_count;
        lane->added += lane->staged_count;
        lane->staged_count = 0;
    }
    bool call = call_for_idle_lane(pool);
    pthread_mutex_unlock(&pool->crossing.lock);
    if (call)
        pthread_cond_signal(&pool->work);
    if (!uv_is_active((uv_handle_t *)pool->tick))
        uv_timer_start(pool->tick, on_tick, TICK_MS, TICK_MS);
}

/* A job that no thread has begun ends as cancelled without running. */
static void cancel(void *engine, struct run *run, enum run_stop why)
{
    struct pool *pool = engine;
    struct job *job = container_of(run, struct job, run);
    if (why == STOP_RETURN) /* a light task ends soon anyway */
        return;
    job->why = why;
    pthread_mutex_lock(&pool->crossing.lock);
    atomic_store(&job->cancelled, true);
    pthread_mutex_unlock(&pool->crossing.lock);
    pthread_cond_broadcast(&pool->crossing.wake);
}

static void health(const void *engine, unsigned lane, struct engine_health *ret)
{
    const struct pool *pool = engine;
    (void)lane;
    *ret = (struct engine_health){.busy = pool->load < pool->width ? pool->load : pool->width,
                                  .total = pool->width,
                                  .load = pool->load};
}

/* ---- life ---------------------------------------------------------------------------------------- */

static unsigned width_of(const struct options *options)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (options->light_threads > 0)
        return (unsigned)options->light_threads;
    return cores > 3 ? (unsigned)(cores > 65 ? 64 : cores - 1) : 2;
}

static void init_lock(struct pool *pool)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&pool->crossing.lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->crossing.wake, &attr);
    pthread_condattr_destroy(&attr);
}

static void init_lane(struct lane *lane, unsigned load_max, unsigned width)
{
    lane->load_max = load_max;
    lane->most = width;
    list_init(&lane->staged);
    list_init(&lane->unsorted);
    list_init(&lane->turns);
}

/* Slow jobs leave half of the queue to quick ones; requests have as much again. */
static const unsigned halves[] = {[LIGHT_QUICK] = 2, [LIGHT_REQUEST] = 4, [LIGHT_SLOW] = 1};

static void *start(const struct engine_config *config)
{
    unsigned width = width_of(config->options), threads = LIGHT_LANES * width + EXTRA_THREADS;
    struct pool *pool = xcalloc(1, sizeof *pool + threads * sizeof pool->threads[0]);
    list_init(&pool->done);
    for (unsigned i = 0; i < LIGHT_LANES; i++)
        init_lane(&pool->lanes[i], (unsigned)config->options->light_queue * halves[i] / 2 + width, width);
    pool->loop = config->loop;
    pool->options = config->options;
    pool->hooks = config->hooks;
    pool->staged = config->staged;
    reports_open(&pool->reports, &pool->crossing, config);
    pool->width = width;
    pool->thread_max = threads;
    init_lock(pool);
    json_object_seed(0); /* before threads race for it */
    pool->crossing.async = xcalloc(1, sizeof *pool->crossing.async);
    pool->tick = loop_timer(config->loop, pool);
    if (uv_async_init(&config->loop->uv, pool->crossing.async, on_async) < 0)
        abort();
    pool->crossing.async->data = pool;
    loop_hook(config->loop, LOOP_STAGE_POOL, hand_over, pool);
    if (!add_thread(pool))
        abort();
    return pool;
}

/* Ends the jobs that have not run as interrupted. */
static void close_lane(struct pool *pool, struct lane *lane)
{
    while (lane->waiting) {
        struct job *job = take_job(lane);
        task_fail(&job->ctx, (struct task_error){"interrupted", true}, "The hub stopped");
        list_append(&pool->done, &job->run.place);
    }
    table_free(&lane->owners);
}

static void stop(void *engine)
{
    struct pool *pool = engine;
    hand_over(pool);
    pthread_mutex_lock(&pool->crossing.lock);
    pool->crossing.closing = true;
    pthread_mutex_unlock(&pool->crossing.lock);
    pthread_cond_broadcast(&pool->work);
    pthread_cond_broadcast(&pool->crossing.wake);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i].id, NULL);
    for (unsigned i = 0; i < LIGHT_LANES; i++)
        close_lane(pool, &pool->lanes[i]);
    fetch(pool);
    loop_unhook(pool->loop, LOOP_STAGE_POOL, hand_over, pool);
    loop_close(pool->crossing.async);
    reports_close(&pool->reports);
    loop_close(pool->tick);
    pthread_mutex_destroy(&pool->crossing.lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->crossing.wake);
    free(pool);
}

static const char *const queues[] = {"light", NULL};

const struct engine threads_engine = {
    .name = "threads",
    .run_size = sizeof(struct job),
    .queues = queues,
    .start = start,
    .stop = stop,
    .room = room,
    .cancel = cancel,
    .health = health,
    .answer = job_answer,
    .listen = job_listen,
    .poll = fetch,
};
