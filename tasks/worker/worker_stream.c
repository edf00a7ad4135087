/* Audio on its way from Redis to a running task: read on from the beginning at every attempt, pushed to the
 * slot no faster than the task reads. Loop thread. */
#include "tasks/worker/worker_private.h"

#include "hub/base/log.h"

#define WINDOW 262144 /* bytes in the slot that the task has not read */
#define PIECE 65536   /* bytes of one read */

static void on_data(void *ctx, enum queue_code code, struct span bytes, bool ended, uint64_t total)
{
    struct worker_task *task = ctx;
    task->reading = false;
    task->calls--;
    if (task->held != HELD_RUN) {
        if (task->calls == 0 && task->lost && !task->telling)
            worker_task_free(task);
        return;
    }
    if (code != QUEUE_OK || task->lost || task->job.proc == NULL)
        return; /* the poll tries again; a task that is gone is told by the beat */
    if (bytes.n) {
        task->read += bytes.n;
        slots_audio(&task->job, bytes);
    }
    if (ended && task->read >= total) {
        task->ended = true;
        slots_audio_end(&task->job);
    } else if (bytes.n) {
        worker_stream_read(task);
    }
}

void worker_stream_read(struct worker_task *task)
{
    if (!task->job.type->stream || !task->begun || task->held != HELD_RUN || task->lost || task->ended ||
        task->reading || !task->worker->ready)
        return;
    uint64_t inside = task->read - task->taken;
    if (inside >= WINDOW)
        return;
    task->reading = true;
    task->calls++;
    size_t room = WINDOW - (size_t)inside;
    queue_audio_read(task->worker->queue, task->job.owner, task->id, task->read, room < PIECE ? room : PIECE,
                     on_data, task);
}

void worker_stream_taken(struct worker_task *task, uint64_t total)
{
    if (total <= task->taken || total > task->read)
        return;
    task->taken = total;
    worker_stream_read(task);
}
