/* What comes from the queue: leases, as many as the slots can use, one call per lane on its way at a time.
 * While work keeps coming, each answer shows how much room there is by then. When a call found less than it
 * asked for, the lane asks again at the bell, at a due time or with the next poll. Loop thread. */
#include "tasks/worker/worker_private.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/json/json.h"

#define LEASE_MAX 256
#define EARLY_MS 3000 /* how long a cancel may be ahead of its task */

void worker_hungry(struct worker *worker, enum slot_lane lane)
{
    worker->lanes[lane].hungry = true;
    worker->lanes[lane].rang = worker->lanes[lane].leasing;
}

void worker_hungry_all(struct worker *worker)
{
    for (enum slot_lane i = 0; i < LANES; i++)
        worker_hungry(worker, i);
}

void worker_remember_cancel(struct worker *worker, const char *id)
{
    struct early *early = &worker->early[worker->early_at++ % WORKER_EARLY];
    size_t n = strnlen(id, ID_SIZE - 1);
    memcpy(early->id, id, n);
    early->id[n] = '\0';
    early->at_ms = clock_mono_ms();
}

static bool was_cancelled(const struct worker *worker, const char *id)
{
    uint64_t now = clock_mono_ms();
    for (size_t i = 0; i < WORKER_EARLY; i++)
        if (strcmp(worker->early[i].id, id) == 0 && now - worker->early[i].at_ms < EARLY_MS)
            return true;
    return false;
}

/* Whether the type may run here: this build knows it. Configuration may send light ones, too. */
static bool is_known(const struct worker *worker, const struct task_type *type)
{
    return type && (!type->diagnostics || worker->options->diagnostics);
}

static void take(struct worker *worker, const struct queue_leased *leased)
{
    const char *reason = "";
    struct worker_task *task = worker_task_find(worker, leased->id);
    if (task) /* an attempt of ours that expired; what it still says is refused */
        worker_task_lose(task);
    task = worker_task_new(worker, leased);
    task->job.type = task_type_find(leased->task);
    if (!is_known(worker, task->job.type)) {
        log_warn("a task of an unknown type was refused", "task", leased->task, "task_id", leased->id);
        worker_task_refuse(task, QUEUE_FAILED, "unknown_task", "No worker of this version knows this task");
    } else if (was_cancelled(worker, leased->id)) {
        worker_task_refuse(task, QUEUE_CANCELLED, "", "");
    } else if (json_check(task->job.args, JSON_LIMITS, &reason) != KIND_OBJECT) {
        log_warn("a task with damaged arguments was refused", "task_id", leased->id, "reason", reason);
        worker_task_refuse(task, QUEUE_FAILED, "corrupt", "The task's arguments are damaged");
    } else {
        slots_give(worker->slots, &task->job);
    }
}

static void on_due(uv_timer_t *timer)
{
    worker_hungry_all(timer->data);
}

static void on_leased(void *ctx, enum queue_code code, const struct queue_leased *tasks, size_t count,
                      uint64_t next_due_ms)
{
    struct worker_lane *lane = ctx;
    struct worker *worker = lane->worker;
    lane->leasing = false;
    lane->hungry = lane->rang || (code == QUEUE_OK && count >= lane->asked && count > 0);
    lane->rang = false;
    for (size_t i = 0; i < count; i++)
        take(worker, &tasks[i]);
    if (worker->draining)
        slots_return_all(worker->slots);
    bool sooner =
        !uv_is_active((uv_handle_t *)&worker->due) || next_due_ms < uv_timer_get_due_in(&worker->due);
    if (next_due_ms && sooner)
        uv_timer_start(&worker->due, on_due, next_due_ms, 0);
}

static void lease(struct worker *worker, struct worker_lane *lane)
{
    if (lane->leasing)
        return;
    unsigned room = worker->draining ? 0 : slots_room(worker->slots, lane->which);
    if (!lane->hungry || room == 0)
        return;
    room = room < LEASE_MAX ? room : LEASE_MAX;
    lane->asked = room;
    lane->leasing = true;
    lane->hungry = false;
    queue_lease(worker->queue, slot_lane_names[lane->which], room, on_leased, lane);
}

bool worker_expects(const struct worker *worker)
{
    for (enum slot_lane i = 0; i < LANES; i++)
        if (worker->lanes[i].leasing)
            return true;
    return false;
}

void worker_lease(struct worker *worker)
{
    if (!worker->ready)
        return;
    for (enum slot_lane i = 0; i < LANES; i++)
        lease(worker, &worker->lanes[i]);
}
