/* Executor "queue": the task goes to the Redis queue of its type, a worker runs it. Loop thread. */
#include "tasks/manager/submission.h"

#define UNDER_WAY_MAX 10000 /* submissions that Redis has not answered yet */

static void on_submitted(void *ctx, const struct queue_submitted *submitted)
{
    struct task_submission *submission = ctx;
    submission->manager->heavy_under_way--;
    submission_recorded(submission, submitted);
    submission_free(submission);
}

static void submit(struct manager *manager, struct task_submission *submission)
{
    const struct task_type *type = submission->type;
    if (manager->heavy_under_way >= UNDER_WAY_MAX) {
        submission_refuse(submission, TASK_BUSY, RETRY_BUSY_MS);
        submission_free(submission);
        return;
    }
    struct queue_submit call = submission_record(submission, type->queue ? type->queue : "default");
    manager->heavy_under_way++;
    if (manager->config.hold) {
        submission->held = true;
        manager->config.hold(manager->config.hold_ctx, submission->owner, submission->id);
    }
    queue_submit(manager->config.queue, &call, on_submitted, submission);
}

const struct executor executor_queue = {.name = "queue", .submit = submit};
