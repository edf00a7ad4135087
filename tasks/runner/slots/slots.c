/* SPDX-License-Identifier: MIT */
/* Assigns the jobs of a worker's lanes to slot processes, starts, stops and times the processes; see slots.h.
 * Loop thread. Sends at most about 50 ms of work ahead to each process, by the moving average of each type's
 * run time: enough that a slot never waits for a round trip, too little to keep work from other workers. */
#include "tasks/runner/slots/slots.h"

#include "hub/base/backoff.h"
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "tasks/runner/slots/prefork.h"
#include "tasks/runner/slots/proc.h"
#include "tasks/runner/slots/remains.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define RETURN_MS 200       /* a job that has not begun by then is given back, for other workers */
#define NO_PREFORK_MS 10000 /* how long a job waits for its prefork parent */
#define TICK_MS 20
#define HURRY_MS 1
#define UNKNOWN_US 100000 /* estimate for a type that has not run yet: nothing is sent ahead */

#define SLOT_AHEAD_US 50000 /* most work sent ahead to a slot */

enum { LANE_DEFAULT, LANE_LIVE, LANES };
static const char *const queues[] = {[LANE_DEFAULT] = "default", [LANE_LIVE] = "live", NULL};

struct lane {          /* the jobs of one queue */
    unsigned capacity; /* tasks that may run at once */
    unsigned prefetch; /* most tasks sent ahead per process */
    struct list procs; /* struct slot_proc */
    struct list waiting;
    unsigned waiting_count;
    uint64_t took_us; /* moving average of run times over all types */
    struct backoff backoff;
    uint64_t not_before_ms;
};

struct fresh { /* one FRESH type */
    const struct task_type *type;
    struct lane *lane;
    struct prefork *prefork;
};

struct slots {
    struct engine_config config;
    struct lane lanes[LANES];
    struct prefork *ordinary;
    struct fresh *fresh;
    size_t fresh_count;
    uint64_t *took_us; /* moving average per task type, in the order of task_type_all(); 0 = never ran */
    struct list flush; /* struct slot_proc with staged bytes */
    uv_signal_t *child;
    uv_timer_t *tick, *hurry;
    struct remains *remains; /* NULL = it could not be made */
    bool unreaped;           /* an ended child may be a slot: wait until the open requests are answered */
    bool closing;
};

static void slots_start_tick(struct slots *slots);
static bool forking(const struct slots *slots);
static void reap_children(struct slots *slots);

static struct fresh *fresh_of(struct slots *slots, const struct task_type *type)
{
    for (size_t i = 0; i < slots->fresh_count; i++)
        if (slots->fresh[i].type == type)
            return &slots->fresh[i];
    return NULL;
}

/* ---- estimates ---- */

/* Raises the average to a longer run at once and lowers it slowly for shorter ones. */
static uint64_t follow(uint64_t average, uint64_t took)
{
    took = took ? took : 1;
    if (average == 0)
        return took;
    return took > average ? (average + took) / 2 : (3 * average + took) / 4;
}

static uint64_t *took_of(const struct slots *slots, const struct task_type *type)
{
    const struct task_type *const *all = task_type_all();
    size_t i = 0;
    while (all[i] && all[i] != type)
        i++;
    return &slots->took_us[i];
}

void lane_job_took(struct slot_proc *proc, struct slot_job *job, uint64_t took_us)
{
    uint64_t *took = took_of(proc->slots, job->run.type);
    *took = follow(*took, took_us);
    proc->lane->took_us = follow(proc->lane->took_us, took_us);
}

/* How many tasks are worth sending ahead to each process. */
static unsigned lane_ahead(const struct lane *lane)
{
    uint64_t count = SLOT_AHEAD_US / (lane->took_us ? lane->took_us : UNKNOWN_US);
    return count < lane->prefetch ? (unsigned)count : lane->prefetch;
}

static bool soon_free(const struct slot_proc *proc, uint64_t now_ms)
{
    const struct slot_job *job = slot_proc_running(proc);
    return job == NULL || (now_ms < job->since_ms + SLOT_AHEAD_US / 1000 && job->stop == STOP_NONE);
}

/* ---- the places of a lane ---- */

/* Whether the process was forked ahead for the next task of a FRESH type: with speech loaded a fork takes 40
 * ms. */
static bool is_spare(const struct slot_proc *proc)
{
    return proc->only && proc->next_seq == 0 && slot_proc_usable(proc);
}

struct places {
    unsigned taken;                 /* places held by tasks and by processes that are ending */
    unsigned reusable;              /* processes for ordinary tasks */
    struct slot_proc *idle, *other; /* a process without work, with this reach and with another */
};

static struct places lane_places(const struct lane *lane, unsigned reach)
{
    struct places places = {0};
    list_for_each (node, &lane->procs) {
        struct slot_proc *proc = container_of(node, struct slot_proc, node);
        if (is_spare(proc))
            continue;
        if (proc->count || proc->only || !slot_proc_usable(proc))
            places.taken++;
        else if (proc->reach == reach)
            places.idle = proc;
        else
            places.other = proc;
        if (!proc->only)
            places.reusable++;
    }
    return places;
}

static bool lane_can_start(const struct lane *lane, const struct prefork *prefork)
{
    return prefork_ready(prefork) && clock_mono_ms() >= lane->not_before_ms;
}

/* Whether a process for this lane exists or can be forked. */
static bool lane_alive(const struct slots *slots, const struct lane *lane)
{
    if (lane == &slots->lanes[LANE_DEFAULT])
        return prefork_ready(slots->ordinary) || !list_empty(&lane->procs);
    for (size_t i = 0; i < slots->fresh_count; i++)
        if (prefork_ready(slots->fresh[i].prefork))
            return true;
    return slots->fresh_count == 0 && prefork_ready(slots->ordinary);
}

static unsigned room(void *self, unsigned number)
{
    const struct slots *slots = self;
    const struct lane *lane = &slots->lanes[number];
    if (!lane_alive(slots, lane))
        return 0;
    unsigned ahead = lane_ahead(lane), tasks = 0;
    uint64_t now = clock_mono_ms();
    list_for_each (node, &lane->procs) {
        const struct slot_proc *proc = container_of(node, struct slot_proc, node);
        unsigned behind = proc->count ? proc->count - 1 : 0;
        if (proc->count && !proc->only && slot_proc_usable(proc) && behind < ahead && soon_free(proc, now))
            tasks += ahead - behind;
    }
    struct places places = lane_places(lane, 0);
    if (places.taken < lane->capacity)
        tasks += (lane->capacity - places.taken) * (1 + ahead);
    return tasks > lane->waiting_count ? tasks - lane->waiting_count : 0;
}

/* ---- giving out work ---- */

static struct slot_proc *lane_new_proc(struct slots *slots, struct lane *lane, struct prefork *prefork,
                                       unsigned reach)
{
    struct slot_proc *proc = slot_proc_new(slots, lane, prefork, reach);
    if (proc)
        list_append(&lane->procs, &proc->node);
    return proc;
}

/* The type's spare process, or a new one; NULL if none can be had now. */
static struct slot_proc *spare_of(struct slots *slots, const struct fresh *fresh)
{
    struct lane *lane = fresh->lane;
    list_for_each (node, &lane->procs) {
        struct slot_proc *proc = container_of(node, struct slot_proc, node);
        if (proc->only == fresh->type && is_spare(proc))
            return proc;
    }
    unsigned reach = task_type_reach(fresh->type, slots->config.options);
    return lane_can_start(lane, fresh->prefork) ? lane_new_proc(slots, lane, fresh->prefork, reach) : NULL;
}

static struct slot_proc *pick_fresh(struct slots *slots, struct lane *lane, const struct task_type *type)
{
    return lane_places(lane, 0).taken < lane->capacity ? spare_of(slots, fresh_of(slots, type)) : NULL;
}

/* The process with the least work queued that still has room for a job of this estimate. */
static struct slot_proc *pick_ahead(const struct lane *lane, unsigned reach, uint64_t est_us)
{
    struct slot_proc *best = NULL;
    uint64_t now = clock_mono_ms();
    list_for_each (node, &lane->procs) {
        struct slot_proc *proc = container_of(node, struct slot_proc, node);
        bool fits = !proc->only && proc->reach == reach && slot_proc_usable(proc) &&
                    proc->count <= lane->prefetch && proc->backlog_us + est_us <= SLOT_AHEAD_US &&
                    soon_free(proc, now);
        if (fits && (best == NULL || proc->backlog_us < best->backlog_us))
            best = proc;
    }
    return best;
}

static struct slot_proc *pick_slot(struct slots *slots, struct lane *lane, const struct slot_job *job)
{
    unsigned reach = job->run.type->reach;
    struct places places = lane_places(lane, reach);
    if (places.taken < lane->capacity) {
        if (places.idle)
            return places.idle;
        if (places.reusable < lane->capacity && lane_can_start(lane, slots->ordinary))
            return lane_new_proc(slots, lane, slots->ordinary, reach);
        if (places.other)
            slot_proc_signal(places.other, SIGKILL); /* a process with this reach replaces it */
    }
    return pick_ahead(lane, reach, job->est_us);
}

static void lane_assign(struct slots *slots, struct lane *lane)
{
    bool full[2][TASK_REACHES] = {0};
    list_for_each_safe (node, after, &lane->waiting) {
        struct slot_job *job = container_of(node, struct slot_job, run.place);
        enum task_isolation kind = job->run.type->isolation;
        bool *is_full = &full[kind][job->run.type->reach];
        if (*is_full)
            continue;
        uint64_t took = *took_of(slots, job->run.type);
        job->est_us = took ? took : UNKNOWN_US;
        struct slot_proc *proc =
            kind == TASK_FRESH ? pick_fresh(slots, lane, job->run.type) : pick_slot(slots, lane, job);
        if (proc == NULL) {
            *is_full = true;
            continue;
        }
        list_remove(node);
        lane->waiting_count--;
        slot_proc_give(proc, job);
    }
}

static void lane_take_back(struct lane *lane, struct list *back)
{
    list_for_each (node, back)
        lane->waiting_count++;
    list_splice(back, &lane->waiting);
    list_splice(&lane->waiting, back);
}

/* Keeps one process of each kind ready, so that the first task need not wait for a fork. */
static void stand_ready(struct slots *slots)
{
    struct lane *lane = &slots->lanes[LANE_DEFAULT];
    if (lane_places(lane, 0).reusable == 0 && lane_can_start(lane, slots->ordinary))
        lane_new_proc(slots, lane, slots->ordinary, 0);
    for (size_t i = 0; i < slots->fresh_count; i++)
        spare_of(slots, &slots->fresh[i]);
}

const struct engine_config *slots_config(const struct slots *slots)
{
    return &slots->config;
}

struct remains *slots_remains(const struct slots *slots)
{
    return slots->remains;
}

void slots_want_flush(struct slots *slots, struct slot_proc *proc)
{
    if (list_empty(&proc->flush_node))
        list_append(&slots->flush, &proc->flush_node);
}

static struct slot_job *job_of(struct run *run)
{
    return container_of(run, struct slot_job, run);
}

/* Takes what the runner has staged for the lane. */
static void lane_take(struct slots *slots, struct lane *lane)
{
    struct list *staged = &slots->config.staged[lane - slots->lanes];
    for (struct run *run; (run = slots->config.hooks->next(staged)) != NULL;) {
        struct slot_job *job = job_of(run);
        job->lane = lane;
        job->proc = NULL;
        job->started = false;
        job->stop = STOP_NONE;
        job->since_ms = clock_mono_ms();
        job->percent = job->log_lines = 0;
        list_append(&lane->waiting, &run->place);
        lane->waiting_count++;
        slots_start_tick(slots);
    }
}

/* Once per turn: takes and assigns jobs, then writes everything that is staged. */
static void on_turn(void *ctx)
{
    struct slots *slots = ctx;
    if (slots->unreaped && !forking(slots))
        reap_children(slots);
    for (size_t i = 0; i < LANES; i++) {
        lane_take(slots, &slots->lanes[i]);
        lane_assign(slots, &slots->lanes[i]);
    }
    for (struct list *node; (node = list_pop(&slots->flush)) != NULL;)
        slot_proc_flush(container_of(node, struct slot_proc, flush_node));
}

/* ---- processes come and go ---- */

void lane_proc_ready(struct slot_proc *proc)
{
    backoff_succeeded(&proc->lane->backoff);
}

void lane_proc_dead(struct slot_proc *proc, struct list *returned)
{
    struct slots *slots = proc->slots;
    struct lane *lane = proc->lane;
    lane_take_back(lane, returned);
    if (proc->state == SLOT_FAILED)
        lane->not_before_ms = clock_mono_ms() + backoff_failed(&lane->backoff, &backoff_process);
    slot_proc_free(&proc);
    if (slots->closing)
        return;
    stand_ready(slots);
    slots_start_tick(slots); /* to try again after the back-off */
}

static void on_prefork_ready(void *ctx)
{
    stand_ready(ctx);
}

static bool is_ours(const struct slots *slots, pid_t pid)
{
    for (size_t i = 0; i < LANES; i++)
        list_for_each (node, &slots->lanes[i].procs)
            if (container_of(node, struct slot_proc, node)->pid == pid)
                return true;
    for (size_t i = 0; i < slots->fresh_count; i++)
        if (prefork_pid(slots->fresh[i].prefork) == pid)
            return true;
    return prefork_pid(slots->ordinary) == pid;
}

/* Whether an unknown child may be a slot. */
static bool forking(const struct slots *slots)
{
    bool any = prefork_forking(slots->ordinary);
    for (size_t i = 0; i < slots->fresh_count; i++)
        any |= prefork_forking(slots->fresh[i].prefork);
    return any;
}

/* Reaps children that have ended: slots, and orphans that this subreaper inherited from tasks. */
static void reap_children(struct slots *slots)
{
    for (size_t i = 0; i < LANES; i++) {
        list_for_each_safe (node, after, &slots->lanes[i].procs)
            slot_proc_reap(container_of(node, struct slot_proc, node));
    }
    siginfo_t info = {0};
    slots->unreaped = forking(slots);
    while (!slots->unreaped && waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid &&
           !is_ours(slots, info.si_pid))
        waitpid(info.si_pid, NULL, WNOHANG);
}

static void on_child(uv_signal_t *handle, int number)
{
    (void)number;
    reap_children(handle->data);
}

/* ---- time ---- */

/* Where a long task blocks others in a process, moves those to other processes or gives them back. */
static void unblock(struct slots *slots, struct lane *lane, uint64_t now_ms)
{
    struct list back;
    list_init(&back);
    list_for_each (node, &lane->procs) {
        struct slot_proc *proc = container_of(node, struct slot_proc, node);
        if (proc->count > 1 && !soon_free(proc, now_ms))
            slot_proc_take_back(proc, &back);
    }
    if (list_empty(&back))
        return;
    lane_take_back(lane, &back);
    lane_assign(slots, lane);
}

static void drop_waiting(struct slot_job *job)
{
    list_remove(&job->run.place);
    job->lane->waiting_count--;
}

/* Gives back jobs that could not begin in time; fails those for which no process can be made. */
static void expire(struct slots *slots, struct lane *lane, uint64_t now_ms)
{
    list_for_each_safe (node, after, &lane->waiting) {
        struct slot_job *job = container_of(node, struct slot_job, run.place);
        struct fresh *fresh = fresh_of(slots, job->run.type);
        bool down = !prefork_ready(fresh ? fresh->prefork : slots->ordinary);
        if (now_ms < job->since_ms + (down ? NO_PREFORK_MS : RETURN_MS))
            continue;
        drop_waiting(job);
        struct queue_end end = {.kind = QUEUE_FAILED,
                                .error_code = SPAN("unavailable"),
                                .error = SPAN("The worker cannot start a process for this task"),
                                .retry = true};
        if (down)
            slots->config.hooks->ended(&job->run, &end, NULL);
        else
            slots->config.hooks->returned(&job->run);
    }
}

static bool lane_tick(struct slots *slots, struct lane *lane, uint64_t now_ms)
{
    bool busy = false;
    list_for_each_safe (node, after, &lane->procs) {
        struct slot_proc *proc = container_of(node, struct slot_proc, node);
        slot_proc_tick(proc, now_ms);
        busy |= proc->count || proc->state != SLOT_SERVING;
    }
    unblock(slots, lane, now_ms);
    expire(slots, lane, now_ms);
    return busy || lane->waiting_count || now_ms < lane->not_before_ms;
}

static void on_tick(uv_timer_t *timer)
{
    struct slots *slots = timer->data;
    uint64_t now = clock_mono_ms();
    bool busy = false;
    for (size_t i = 0; i < LANES; i++)
        busy |= lane_tick(slots, &slots->lanes[i], now);
    stand_ready(slots);
    if (!busy)
        uv_timer_stop(timer);
}

static void slots_start_tick(struct slots *slots)
{
    if (!uv_is_active((uv_handle_t *)slots->tick))
        uv_timer_start(slots->tick, on_tick, TICK_MS, TICK_MS);
}

static void on_hurry(uv_timer_t *timer)
{
    struct slots *slots = timer->data;
    bool again = false;
    for (size_t i = 0; i < LANES; i++)
        list_for_each (node, &slots->lanes[i].procs)
            again |= slot_proc_hurry(container_of(node, struct slot_proc, node));
    if (!again)
        uv_timer_stop(timer);
}

void slots_start_hurry(struct slots *slots)
{
    if (!uv_is_active((uv_handle_t *)slots->hurry))
        uv_timer_start(slots->hurry, on_hurry, HURRY_MS, HURRY_MS);
}

/* ---- stopping ---- */

static void stop_waiting(struct slots *slots, struct slot_job *job, enum run_stop why)
{
    static const struct queue_end cancelled = {.kind = QUEUE_CANCELLED};
    drop_waiting(job);
    job->stop = why;
    if (why == STOP_DRAIN || why == STOP_RETURN)
        slots->config.hooks->returned(&job->run);
    else
        slots->config.hooks->ended(&job->run, why == STOP_LOST ? NULL : &cancelled, NULL);
}

static void cancel(void *self, struct run *run, enum run_stop why)
{
    struct slot_job *job = job_of(run);
    struct slot_proc *proc = job->proc;
    if (proc && !job->started) {
        struct list back;
        list_init(&back);
        slot_proc_take_back(proc, &back);
        lane_take_back(proc->lane, &back);
    }
    if (job->proc == NULL) {
        stop_waiting(self, job, why);
        return;
    }
    if (why == STOP_RETURN || job->stop == STOP_LOST || job->stop == STOP_DRAIN || job->stop == why)
        return;
    if (job != slot_proc_begun(proc))
        return; /* it has ended, and the report of that is under way */
    if (why == STOP_CANCEL)
        slot_report_started(job); /* it has begun, and the report of that is under way */
    slot_proc_stop(proc, job, why);
}

/* ---- what goes to a running task ---- */

static void answer(void *self, struct run *run, uint32_t call, struct span json)
{
    struct slot_job *job = job_of(run);
    (void)self;
    if (job->proc)
        SLOT_PUT(slot_proc_out(job->proc), .type = SLOT_ANSWER, .seq = job->seq, .number = {call},
                 .text = {json});
}

static void audio(void *self, struct run *run, struct span bytes, bool last)
{
    struct slot_job *job = job_of(run);
    (void)self;
    if (job->proc == NULL)
        return;
    if (bytes.n)
        SLOT_PUT(slot_proc_out(job->proc), .type = SLOT_AUDIO, .seq = job->seq, .text = {bytes});
    if (last)
        SLOT_PUT(slot_proc_out(job->proc), .type = SLOT_AUDIO_END, .seq = job->seq);
}

static void health(const void *self, unsigned number, struct engine_health *ret)
{
    const struct lane *lane = &((const struct slots *)self)->lanes[number];
    *ret = (struct engine_health){.total = lane->capacity, .load = lane->waiting_count};
    list_for_each (node, &lane->procs) {
        unsigned count = container_of(node, struct slot_proc, node)->count;
        ret->busy += count > 0;
        ret->load += count;
    }
}

/* ---- life ---- */

static void init_lane(struct lane *lane, int64_t configured, unsigned per_core)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    lane->capacity = configured ? (unsigned)configured : per_core * (unsigned)(cores > 0 ? cores : 1);
    list_init(&lane->procs);
    list_init(&lane->waiting);
}

static struct prefork *start_prefork(struct slots *slots, const struct task_type *type)
{
    return prefork_new(
        &(struct prefork_config){.loop = slots->config.loop,
                                 .options = slots->config.options,
                                 .type = type,
                                 .directory = slots->remains ? remains_directory(slots->remains) : "",
                                 .on_ready = on_prefork_ready,
                                 .ctx = slots});
}

static struct lane *lane_of(struct slots *slots, const char *queue)
{
    size_t i = 0;
    while (strcmp(queues[i], queue) != 0)
        i++;
    return &slots->lanes[i];
}

static void start_preforks(struct slots *slots)
{
    const struct task_type *const *all = task_type_all();
    size_t count = 0;
    while (all[count])
        count++;
    slots->took_us = xcalloc(count + 1, sizeof *slots->took_us);
    slots->fresh = xcalloc(count + 1, sizeof *slots->fresh);
    slots->ordinary = start_prefork(slots, NULL);
    for (size_t i = 0; i < count; i++)
        if (all[i]->kind == TASK_HEAVY && all[i]->isolation == TASK_FRESH &&
            (!all[i]->diagnostics || slots->config.options->diagnostics))
            slots->fresh[slots->fresh_count++] =
                (struct fresh){all[i], lane_of(slots, all[i]->queue), start_prefork(slots, all[i])};
}

static void make_remains(struct slots *slots)
{
    slots->remains = remains_new();
    if (slots->remains == NULL)
        log_error("no task can run: there is no room for directories of theirs (TMPDIR)", "reason",
                  strerror(errno));
}

static void *start(const struct engine_config *config)
{
    struct slots *slots = xcalloc(1, sizeof *slots);
    slots->config = *config;
    list_init(&slots->flush);
    init_lane(&slots->lanes[LANE_DEFAULT], config->options->slots_default, 2);
    init_lane(&slots->lanes[LANE_LIVE], config->options->slots_live, 3);
    slots->lanes[LANE_DEFAULT].prefetch = (unsigned)config->options->worker_prefetch;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    slots->child = xcalloc(1, sizeof *slots->child);
    uv_signal_init(&config->loop->uv, slots->child);
    slots->child->data = slots;
    uv_signal_start(slots->child, on_child, SIGCHLD);
    slots->tick = loop_timer(config->loop, slots);
    slots->hurry = loop_timer(config->loop, slots);
    loop_hook(config->loop, LOOP_STAGE_POOL, on_turn, slots);
    make_remains(slots);
    start_preforks(slots);
    return slots;
}

static void stop(void *self)
{
    struct slots *old = self;
    old->closing = true;
    loop_unhook(old->config.loop, LOOP_STAGE_POOL, on_turn, old);
    prefork_free(&old->ordinary); /* also frees processes that are being forked */
    for (size_t i = 0; i < old->fresh_count; i++)
        prefork_free(&old->fresh[i].prefork);
    for (size_t i = 0; i < LANES; i++)
        list_for_each_safe (node, after, &old->lanes[i].procs) {
            struct slot_proc *proc = container_of(node, struct slot_proc, node);
            slot_proc_free(&proc);
        }
    remains_free(&old->remains);
    loop_close(old->child);
    loop_close(old->tick);
    loop_close(old->hurry);
    free(old->fresh);
    free(old->took_us);
    free(old);
}

const struct engine slots_engine = {
    .name = "slots",
    .run_size = sizeof(struct slot_job),
    .queues = queues,
    .start = start,
    .stop = stop,
    .room = room,
    .cancel = cancel,
    .health = health,
    .answer = answer,
    .audio = audio,
};
