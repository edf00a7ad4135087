/* Executor "threads": the task runs on the hub's pool. Bounds per owner and in all; then either it runs
 * first and is recorded with its end, or it is recorded first. Loop thread. */
#include "tasks/manager/submission.h"

static void refuse(struct task_submission *submission, enum task_refusal refusal, uint64_t retry_ms)
{
    submission_refuse(submission, refusal, retry_ms);
    submission_free(submission);
}

/* What a client may want to find again, or to wait, must stand in Redis before it runs; a heavy type that
 * was routed here is counted in the limits there. */
static bool must_record_first(const struct task_submission *submission)
{
    const struct task_request *request = &submission->request;
    return request->idempotency_key.p || request->delay_ms || request->expires_ms ||
           submission->type->kind == TASK_HEAVY;
}

static void submit(struct manager *manager, struct task_submission *submission)
{
    (void)manager;
    if (!submission_count(submission)) {
        refuse(submission, TASK_USER_LIMIT, 100);
        return;
    }
    submission_copy_args(submission, submission->request.args);
    if (must_record_first(submission))
        light_record(submission);
    else if (!light_run(submission))
        refuse(submission, TASK_BUSY, RETRY_BUSY_MS);
}

const struct executor executor_threads = {.name = "threads", .submit = submit};
