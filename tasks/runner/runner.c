/* SPDX-License-Identifier: MIT */
/* Takes, renews and gives back leases for every process that runs tasks, and starts and stops the engines;
 * see runner.h. What becomes of a single run is in run.c. Loop thread. */
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "hub/json/json.h"
#include "tasks/runner/runner_private.h"

#define LEASE_MAX 256
#define EARLY_MS 3000
#define REPORT_GRACE_MS 1500

static void lane_become(struct run_lane *lane, enum lane_state to)
{
    lane->state = to;
}

static void runner_become(struct runner *runner, enum runner_state to)
{
    runner->state = to;
}

static void drain_become(struct runner *runner, enum drain_state to)
{
    if (to <= runner->drain)
        abort();
    runner->drain = to;
}

/* ---- leasing ------------------------------------------------------------------------------------- */

bool runner_was_cancelled(const struct runner *runner, const char *id)
{
    uint64_t now = runner->early_cancel_count ? clock_mono_ms() : 0;
    for (size_t i = 0; i < EARLY_CANCELS && i < runner->early_cancel_count; i++)
        if (strcmp(runner->early_cancels[i].id, id) == 0 && now - runner->early_cancels[i].at_ms < EARLY_MS)
            return true;
    return false;
}

/* Whether this process can run tasks of this type. */
static bool can_run(const struct runner *runner, const struct task_type *type)
{
    return type && (!type->diagnostics || runner->config.options->diagnostics);
}

static void accept_lease(struct run_lane *lane, const struct queue_leased *leased)
{
    struct runner *runner = lane->runner;
    struct span owner = span_of(leased->owner);
    const char *reason = "";
    struct run *run = run_find(runner, leased->id);
    if (run) /* an earlier attempt here, whose lease expired; its reports would be refused */
        run_lose(run);
    bool sound = strlen(leased->id) == ID_SIZE - 1 && owner.n < OWNER_SIZE;
    run = run_new(lane, task_type_find(leased->task), sound ? owner : SPAN("-"));
    memcpy(run->id, sound ? leased->id : "00000000-0000-0000-0000-000000000000", ID_SIZE);
    memcpy(run->effect_id, strlen(leased->effect_id) == ID_SIZE - 1 ? leased->effect_id : run->id, ID_SIZE);
    if (leased->args_home) {
        run->args_text = *leased->args_home;
        run->args = leased->args;
        *leased->args_home = NULL;
    } else {
        run_set_args(run, leased->args);
    }
    run->attempt = leased->attempt;
    run->fence = leased->fence;
    run->reported.rev = leased->rev;
    if (!can_run(runner, run->type)) {
        log_warn("a task of an unknown type was refused", "task", leased->task, "task_id", leased->id);
        run_refuse(run, QUEUE_FAILED, "unknown_task", "No process of this version knows this task");
    } else if (runner_was_cancelled(runner, leased->id)) {
        run_refuse(run, QUEUE_CANCELLED, "", "");
    } else if (!sound || json_check(run->args, JSON_LIMITS, &reason) != KIND_OBJECT) {
        log_warn("a damaged task was refused", "task_id", leased->id, "reason", reason);
        run_refuse(run, QUEUE_FAILED, "corrupt", "The task's arguments are damaged");
    } else {
        run_give(run);
    }
}

static void lane_bell(struct run_lane *lane)
{
    lane_become(lane, lane->state >= LANE_ASKING ? LANE_RANG : LANE_HUNGRY);
}

void runner_bell(struct runner *runner, const char *queue)
{
    for (size_t i = 0; i < runner->lane_count; i++)
        if (queue == NULL || strcmp(queue, runner->lanes[i].queue) == 0)
            lane_bell(&runner->lanes[i]);
}

static void on_due(uv_timer_t *timer)
{
    runner_bell(timer->data, NULL);
}

/* Gives back the runs that have not begun. */
static void return_waiting(struct runner *runner)
{
    list_for_each_safe (node, after, &runner->leased) {
        struct run *run = container_of(node, struct run, node);
        if (run->state == RUN_LEASED && run->begun <= RUN_WAITS)
            run_stop(run, STOP_RETURN);
    }
}

static void on_leased(void *ctx, enum queue_code code, const struct queue_leased *tasks, size_t count,
                      uint64_t next_due_ms)
{
    struct run_lane *lane = ctx;
    struct runner *runner = lane->runner;
    bool more = lane->state == LANE_RANG || (code == QUEUE_OK && count >= lane->asked);
    lane_become(lane, more ? LANE_HUNGRY : LANE_QUIET);
    if (code != QUEUE_OK)
        return; /* the next bell or poll tries again */
    for (size_t i = 0; i < count; i++)
        accept_lease(lane, &tasks[i]);
    if (runner->drain)
        return_waiting(runner);
    if (next_due_ms)
        loop_timer_within(runner->due, on_due, next_due_ms);
}

/* Waits while Redis works on reports: tasks gather meanwhile, one call then leases them all, and it leaves
 * together with the next reports. */
static void lease(struct run_lane *lane)
{
    struct runner *runner = lane->runner;
    const struct running_engine *engine = lane->engine;
    if (queue_is_writing(runner->config.queue))
        return;
    unsigned room = lane->state == LANE_HUNGRY ? engine->table->room(engine->self, lane->number) : 0;
    if (room == 0)
        return;
    lane->asked = room < LEASE_MAX ? room : LEASE_MAX;
    lane_become(lane, LANE_ASKING);
    queue_lease(runner->config.queue, lane->queue, lane->asked, on_leased, lane);
}

/* ---- keeping ------------------------------------------------------------------------------------- */

/* The run that holds exactly this lease, NULL if it is over. */
static struct run *run_of(struct runner *runner, const struct queue_beat_item *item)
{
    struct run *run = run_find(runner, item->id);
    return run && run->fence == item->fence ? run : NULL;
}

static void on_beaten(void *ctx, enum queue_code code, const struct queue_beat_item *lost, size_t lost_count,
                      const struct queue_beat_item *cancelled, size_t cancelled_count)
{
    struct runner *runner = ctx;
    struct run *run;
    if (code != QUEUE_OK)
        return;
    for (size_t i = 0; i < lost_count; i++)
        if ((run = run_of(runner, &lost[i])) != NULL)
            run_lose(run);
    for (size_t i = 0; i < cancelled_count; i++)
        if ((run = run_of(runner, &cancelled[i])) != NULL)
            run_cancel(run);
}

void runner_beat(struct runner *runner)
{
    if (runner->state != RUNNER_UP || (runner->leased_count == 0 && !runner->config.beats_idle))
        return;
    struct queue_beat_item *items = xcalloc(runner->leased_count + 1, sizeof *items);
    struct buf info CLEANUP(buf_free) = BUF_INIT;
    size_t count = 0;
    list_for_each (node, &runner->leased) {
        const struct run *run = container_of(node, struct run, node);
        items[count++] = (struct queue_beat_item){run->id, run->fence};
    }
    runner->beaten_ms = clock_mono_ms();
    runner->config.hooks.info(runner->config.ctx, &info);
    queue_beat(runner->config.queue, items, count, buf_span(&info), on_beaten, runner);
    free(items);
}

bool runner_cancel(struct runner *runner, const char *id, unsigned fence)
{
    struct run *run = run_find(runner, id);
    if (run == NULL) {
        struct early_cancel *early = &runner->early_cancels[runner->early_cancel_count++ % EARLY_CANCELS];
        snprintf(early->id, sizeof early->id, "%s", id);
        early->at_ms = clock_mono_ms();
    } else if (fence == 0 || fence == run->fence) {
        run_cancel(run);
    }
    return run != NULL;
}

static unsigned beat_every_ms(const struct runner *runner)
{
    return (unsigned)runner->config.options->lease_ms / 3;
}

/* ---- Redis comes and goes ------------------------------------------------------------------------ */

static void go_up(struct runner *runner)
{
    runner_become(runner, RUNNER_UP);
    runs_report_again(runner);
    runner_beat(runner);
    runner_bell(runner, NULL);
    runs_read_streams(runner);
}

static void on_reclaimed(void *ctx, enum queue_code code)
{
    struct runner *runner = ctx;
    if (runner->state != RUNNER_RECLAIMING)
        return;
    runner_become(runner, RUNNER_MUST_RECLAIM); /* the next poll tries again */
    if (code != QUEUE_OK)
        return;
    runner->reclaimed = true;
    if (runner->config.hooks.ready)
        runner->config.hooks.ready(runner->config.ctx);
    go_up(runner);
}

static void reclaim(struct runner *runner)
{
    runner_become(runner, RUNNER_RECLAIMING);
    queue_reclaim(runner->config.queue, on_reclaimed, runner);
}

void runner_up(struct runner *runner)
{
    if (runner->reclaimed)
        go_up(runner);
    else if (runner->state != RUNNER_RECLAIMING)
        reclaim(runner);
}

void runner_down(struct runner *runner)
{
    runner_become(runner, RUNNER_DOWN);
}

static void on_poll(uv_timer_t *timer)
{
    struct runner *runner = timer->data;
    if (runner->state == RUNNER_MUST_RECLAIM)
        reclaim(runner);
    if (runner->state != RUNNER_UP || !redis_is_up(queue_redis(runner->config.queue)))
        return;
    if (clock_mono_ms() - runner->beaten_ms >= beat_every_ms(runner) || !queue_is_heard(runner->config.queue))
        runner_beat(runner);
    runner_bell(runner, NULL);
    runs_report_again(runner);
    runs_read_streams(runner);
    runs_check_pace(runner);
}

/* ---- draining ------------------------------------------------------------------------------------ */

static void stop_all(struct runner *runner)
{
    drain_become(runner, DRAIN_STOPPED);
    runner->drain_end_ms = clock_mono_ms() + REPORT_GRACE_MS;
    list_for_each_safe (node, after, &runner->leased) {
        struct run *run = container_of(node, struct run, node);
        if (run->state == RUN_LEASED)
            run_stop(run, STOP_DRAIN);
    }
}

/* Whether no run is held and no lease is under way. */
static bool is_empty(const struct runner *runner)
{
    for (size_t i = 0; i < runner->lane_count; i++)
        if (runner->lanes[i].state >= LANE_ASKING && runner->state == RUNNER_UP)
            return false;
    return runner->load == 0;
}

static void go_on_draining(struct runner *runner)
{
    uint64_t now = clock_mono_ms();
    if (runner->drain == DRAIN_WAITS && (runner->active == 0 || now >= runner->drain_end_ms))
        stop_all(runner); /* also when nothing runs: then only reports are under way */
    if (!is_empty(runner) && (runner->drain == DRAIN_WAITS || now < runner->drain_end_ms))
        return;
    drain_become(runner, DRAIN_OVER);
    runner->drained(runner->drained_ctx);
}

void runner_drain(struct runner *runner, uint64_t patience_ms, void (*fn)(void *ctx), void *ctx)
{
    if (runner->drain == DRAIN_WAITS) {
        stop_all(runner);
    } else if (runner->drain == DRAIN_NOT) {
        uint64_t now = clock_mono_ms();
        drain_become(runner, DRAIN_WAITS);
        runner->drain_end_ms = patience_ms > UINT64_MAX - now ? UINT64_MAX : now + patience_ms;
        runner->drained = fn;
        runner->drained_ctx = ctx;
        return_waiting(runner);
        runner_beat(runner); /* so that admin.workers shows the drain */
    }
}

static void on_turn(void *ctx)
{
    struct runner *runner = ctx;
    if (runner->state == RUNNER_UP && runner->drain == DRAIN_NOT)
        for (size_t i = 0; i < runner->lane_count; i++)
            lease(&runner->lanes[i]);
    if (runner->drain == DRAIN_WAITS || runner->drain == DRAIN_STOPPED)
        go_on_draining(runner);
}

/* ---- figures ------------------------------------------------------------------------------------- */

uint64_t runner_done(const struct runner *runner)
{
    return runner->done;
}

unsigned runner_load(const struct runner *runner)
{
    return runner->load;
}

struct engine_health runner_health(const struct run_lane *lane)
{
    struct engine_health health = {0};
    lane->engine->table->health(lane->engine->self, lane->number, &health);
    return health;
}

void runner_poll(struct runner *runner)
{
    for (size_t i = 0; i < runner->engine_count; i++)
        if (runner->engines[i].table->poll)
            runner->engines[i].table->poll(runner->engines[i].self);
}

/* ---- life ---------------------------------------------------------------------------------------- */

/* Adds the engine's lanes; returns the staged list of the first. */
static struct list *add_lanes(struct runner *runner, struct running_engine *engine)
{
    struct list *staged = &runner->staged[runner->lane_count];
    const char *const *queues = engine->table->queues;
    for (unsigned number = 0; queues[number]; number++) {
        list_init(&staged[number]);
        runner->lanes[runner->lane_count++] = (struct run_lane){.runner = runner,
                                                                .engine = engine,
                                                                .number = number,
                                                                .queue = queues[number],
                                                                .staged = &staged[number],
                                                                .state = LANE_HUNGRY};
    }
    return staged;
}

static void start_engines(struct runner *runner)
{
    const struct engine *const *engines = runner->config.engines;
    size_t count = 0, lanes = 0;
    for (; engines[count]; count++)
        for (const char *const *queue = engines[count]->queues; *queue; queue++)
            lanes++;
    runner->engine_count = count;
    runner->engines = xcalloc(count, sizeof *runner->engines);
    runner->lanes = xcalloc(lanes, sizeof *runner->lanes);
    runner->staged = xcalloc(lanes, sizeof *runner->staged);
    for (size_t i = 0; i < count; i++) {
        struct running_engine *engine = &runner->engines[i];
        engine->table = engines[i];
        engine->holder_at = (engines[i]->run_size + 15) & ~(size_t)15;
        list_init(&engine->spare);
        engine->self = engines[i]->start(&(struct engine_config){runner->config.loop, runner->config.options,
                                                                 &run_hooks, add_lanes(runner, engine)});
    }
}

struct runner *runner_new(const struct runner_config *config)
{
    struct runner *runner = xcalloc(1, sizeof *runner);
    runner->config = *config;
    list_init(&runner->leased);
    list_init(&runner->unleased);
    list_init(&runner->questions);
    start_engines(runner);
    loop_hook(config->loop, LOOP_STAGE_POOL, on_turn, runner);
    runner->due = loop_timer(config->loop, runner);
    runner->poll = loop_timer(config->loop, runner);
    unsigned every = beat_every_ms(runner);
    every = every < config->poll_ms ? every : config->poll_ms;
    uv_timer_start(runner->poll, on_poll, every, every);
    return runner;
}

static void free_runs(struct list *runs)
{
    while (!list_empty(runs))
        run_free(container_of(runs->next, struct run, node));
}

void runner_free(struct runner **runner_ptr)
{
    struct runner *runner = *runner_ptr;
    if (runner == NULL)
        return;
    *runner_ptr = NULL;
    runner_become(runner, RUNNER_DOWN);
    list_for_each_safe (node, after, &runner->leased) { /* the queue is gone: no more reports */
        struct run *run = container_of(node, struct run, node);
        run_become(run, run->state == RUN_LEASED ? RUN_LOST : RUN_FINISHED);
    }
    for (size_t i = 0; i < runner->engine_count; i++)
        runner->engines[i].table->stop(runner->engines[i].self);
    loop_unhook(runner->config.loop, LOOP_STAGE_POOL, on_turn, runner);
    runs_forget_questions(runner);
    free_runs(&runner->unleased);
    for (size_t i = 0; i < runner->engine_count; i++)
        for (struct list *node; (node = list_pop(&runner->engines[i].spare)) != NULL;)
            free(container_of(node, struct run, node));
    loop_close(runner->poll);
    loop_close(runner->due);
    table_free(&runner->by_id);
    free(runner->engines);
    free(runner->staged);
    free(runner->lanes);
    free(runner);
}
