/* Which job goes to which slot process; see slots_private.h. Loop thread. Every process holds at most about
 * 50 ms of work ahead, by the moving average of what each type takes: enough that a slot never waits for a
 * round trip, too little to keep work from other workers. */
#include "tasks/runner/slots/slots_private.h"

#include "hub/base/clock.h"

#define UNKNOWN_US 100000 /* estimate of a type that has not run yet: nothing is sent ahead */

struct lane *lane_of(struct slots *slots, const struct task_type *type)
{
    bool live =
        type->queue && strcmp(type->queue, slot_lane_names[LANE_LIVE]) == 0; /* light ones name none */
    return &slots->lanes[live ? LANE_LIVE : LANE_DEFAULT];
}

struct fresh *fresh_of(struct slots *slots, const struct task_type *type)
{
    for (size_t i = 0; i < slots->fresh_count; i++)
        if (nursery_type(slots->fresh[i].nursery) == type)
            return &slots->fresh[i];
    return NULL;
}

/* ---- estimates ---------------------------------------------------------------------------------------- */

/* The average follows a longer run at once and shorter ones slowly. */
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
    uint64_t *took = took_of(proc->slots, job->type);
    *took = follow(*took, took_us);
    proc->lane->took_us = follow(proc->lane->took_us, took_us);
}

/* Tasks worth sending ahead to each process. */
static unsigned lane_ahead(const struct lane *lane)
{
    uint64_t count = SLOT_AHEAD_US / (lane->took_us ? lane->took_us : UNKNOWN_US);
    return count < lane->prefetch ? (unsigned)count : lane->prefetch;
}

bool soon_free(const struct slot_proc *proc, uint64_t now_ms)
{
    const struct slot_job *job = slot_proc_running(proc);
    return job == NULL || (now_ms < job->since_ms + SLOT_AHEAD_US / 1000 && job->stop == STOP_NONE);
}

/* ---- the places of a lane -------------------------------------------------------------------------------
 */

struct places {
    unsigned taken;    /* by tasks and by processes that are ending */
    unsigned reusable; /* processes for ordinary tasks */
    struct slot_proc *idle;
};

/* A fresh child whose task was taken back before it began: the next task of its type gets it. */
static bool is_unused(const struct slot_proc *proc)
{
    return proc->only && proc->count == 0 && !proc->ending && slot_page_begun(proc->page) == 0;
}

static struct places lane_places(const struct lane *lane)
{
    struct places places = {0, 0, NULL};
    list_for_each (node, &lane->procs) {
        struct slot_proc *proc = container_of(node, struct slot_proc, node);
        if (is_unused(proc))
            continue;
        if (proc->count || proc->only || proc->ending)
            places.taken++;
        else
            places.idle = proc;
        if (!proc->only)
            places.reusable++;
    }
    return places;
}

static bool lane_can_start(const struct slots *slots, const struct lane *lane)
{
    return nursery_ready(slots->ordinary) && clock_mono_ms() >= lane->not_before_ms;
}

/* Whether any process can come into being for this lane. */
static bool lane_alive(const struct slots *slots, const struct lane *lane)
{
    if (lane == &slots->lanes[LANE_DEFAULT])
        return nursery_ready(slots->ordinary) || !list_empty(&lane->procs);
    for (size_t i = 0; i < slots->fresh_count; i++)
        if (nursery_ready(slots->fresh[i].nursery))
            return true;
    return slots->fresh_count == 0 && nursery_ready(slots->ordinary);
}

unsigned slots_room(const struct slots *slots, enum slot_lane which)
{
    const struct lane *lane = &slots->lanes[which];
    if (!lane_alive(slots, lane))
        return 0;
    unsigned ahead = lane_ahead(lane), room = 0;
    uint64_t now = clock_mono_ms();
    list_for_each (node, &lane->procs) {
        const struct slot_proc *proc = container_of(node, struct slot_proc, node);
        unsigned behind = proc->count ? proc->count - 1 : 0;
        if (proc->count && !proc->only && !proc->ending && behind < ahead && soon_free(proc, now))
            room += ahead - behind;
    }
    struct places places = lane_places(lane);
    if (places.taken < lane->capacity)
        room += (lane->capacity - places.taken) * (1 + ahead);
    return room > lane->waiting_count ? room - lane->waiting_count : 0;
}

/* ---- giving out work
 * ---------------------------------------------------------------------------------------- */

static struct slot_proc *lane_new_proc(struct slots *slots, struct lane *lane, struct nursery *nursery)
{
    struct slot_proc *proc = slot_proc_new(slots, lane, nursery);
    if (proc)
        list_append(&lane->procs, &proc->node);
    return proc;
}

void make_spare(struct slots *slots, struct fresh *fresh)
{
    struct lane *lane = lane_of(slots, nursery_type(fresh->nursery));
    if (fresh->spare == NULL && nursery_ready(fresh->nursery) && clock_mono_ms() >= lane->not_before_ms &&
        !slots->closing)
        fresh->spare = slot_proc_new(slots, lane, fresh->nursery);
}

static struct slot_proc *pick_fresh(struct slots *slots, struct lane *lane, const struct task_type *type)
{
    struct fresh *fresh = fresh_of(slots, type);
    if (lane_places(lane).taken >= lane->capacity)
        return NULL;
    list_for_each (node, &lane->procs) {
        struct slot_proc *unused = container_of(node, struct slot_proc, node);
        if (unused->only == type && is_unused(unused))
            return unused;
    }
    struct slot_proc *proc = fresh->spare;
    fresh->spare = NULL;
    if (proc)
        list_append(&lane->procs, &proc->node);
    else if (nursery_ready(fresh->nursery) && clock_mono_ms() >= lane->not_before_ms)
        proc = lane_new_proc(slots, lane, fresh->nursery);
    return proc;
}

/* The process with the least work before it that can still take this much. */
static struct slot_proc *pick_ahead(const struct lane *lane, uint64_t est_us)
{
    struct slot_proc *best = NULL;
    uint64_t now = clock_mono_ms();
    list_for_each (node, &lane->procs) {
        struct slot_proc *proc = container_of(node, struct slot_proc, node);
        bool fits = !proc->only && !proc->ending && proc->count <= lane->prefetch &&
                    proc->backlog_us + est_us <= SLOT_AHEAD_US && soon_free(proc, now);
        if (fits && (best == NULL || proc->backlog_us < best->backlog_us))
            best = proc;
    }
    return best;
}

static struct slot_proc *pick_slot(struct slots *slots, struct lane *lane, const struct slot_job *job)
{
    struct places places = lane_places(lane);
    if (places.taken < lane->capacity) {
        if (places.idle)
            return places.idle;
        if (places.reusable < lane->capacity && lane_can_start(slots, lane)) {
            struct slot_proc *proc = lane_new_proc(slots, lane, slots->ordinary);
            if (lane->want < places.reusable + 1)
                lane->want = places.reusable + 1;
            return proc;
        }
    }
    return pick_ahead(lane, job->est_us);
}

void lane_assign(struct slots *slots, struct lane *lane)
{
    bool full[2] = {false, false};
    list_for_each_safe (node, after, &lane->waiting) {
        struct slot_job *job = container_of(node, struct slot_job, node);
        enum task_isolation kind = job->type->isolation;
        if (full[kind])
            continue;
        uint64_t took = *took_of(slots, job->type);
        job->est_us = took ? took : UNKNOWN_US;
        struct slot_proc *proc =
            kind == TASK_FRESH ? pick_fresh(slots, lane, job->type) : pick_slot(slots, lane, job);
        if (proc == NULL) {
            full[kind] = true;
            if (full[TASK_FRESH] && full[TASK_IN_SLOT])
                return;
            continue;
        }
        list_remove(node);
        lane->waiting_count--;
        slot_proc_give(proc, job);
    }
}

void lane_take_back(struct lane *lane, struct list *back)
{
    list_for_each (node, back)
        lane->waiting_count++;
    list_splice(back, &lane->waiting);
    list_splice(&lane->waiting, back);
}

void lane_keep(struct slots *slots, struct lane *lane)
{
    while (!slots->closing && lane_places(lane).reusable < lane->want && lane_can_start(slots, lane))
        if (lane_new_proc(slots, lane, slots->ordinary) == NULL)
            return;
}
