/* What becomes of a leased task: what its slot says is written to the queue, and kept until Redis has it.
 * Loop thread. Nothing here decides about the state of a task: every write carries id and fence, and the
 * queue refuses it when the lease went to somebody else. */
#include "tasks/worker/worker_private.h"

#include "hub/base/log.h"
#include "tasks/queue/services.h"

struct final { /* a final piece or a log line: Redis must have it */
    struct list node;
    struct worker_task *task;
    enum queue_update_kind kind;
    unsigned number; /* it may have been taken although no answer came */
    bool telling;
    size_t size;
    char text[];
};

/* ---- the table ---------------------------------------------------------------------------------------- */

static struct list *bucket_of(struct worker *worker, const char *id)
{
    uint32_t hash = 2166136261u;
    for (const char *p = id; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    return &worker->buckets[hash % WORKER_BUCKETS];
}

struct worker_task *worker_task_find(struct worker *worker, const char *id)
{
    struct list *bucket = bucket_of(worker, id);
    list_for_each (node, bucket) {
        struct worker_task *task = container_of(node, struct worker_task, bucket);
        if (strcmp(task->id, id) == 0)
            return task;
    }
    return NULL;
}

struct worker_task *worker_task_new(struct worker *worker, const struct queue_leased *leased)
{
    struct span args = leased->args.p ? leased->args : SPAN("{}");
    size_t owner_size = strlen(leased->owner) + 1;
    struct worker_task *task = xmalloc(sizeof *task + owner_size + args.n);
    *task = (struct worker_task){.worker = worker};
    memcpy(task->id, leased->id, strnlen(leased->id, sizeof task->id - 1));
    memcpy(task->text, leased->owner, owner_size);
    memcpy(task->text + owner_size, args.p, args.n);
    task->job = (struct slot_job){.id = task->id,
                                  .owner = task->text,
                                  .fence = leased->fence,
                                  .attempt = leased->attempt,
                                  .args = {task->text + owner_size, args.n}};
    task->reported.rev = leased->rev;
    list_init(&task->finals);
    list_append(&worker->tasks, &task->node);
    list_append(bucket_of(worker, task->id), &task->bucket);
    worker->task_count++;
    return task;
}

void worker_task_free(struct worker_task *task)
{
    for (struct list *node; (node = list_pop(&task->finals)) != NULL;)
        free(container_of(node, struct final, node));
    list_remove(&task->node);
    list_remove(&task->bucket);
    task->worker->task_count--;
    free(task->end_text);
    free(task);
}

/* A call came back. False when it was the last thing the object was kept for; it is freed then. */
static bool returned(struct worker_task *task)
{
    task->calls--;
    if (task->calls || task->held == HELD_RUN || task->telling || !task->lost)
        return true;
    worker_task_free(task);
    return false;
}

/* Nothing more is to be said about it. */
static void finish(struct worker_task *task)
{
    task->lost = true;
    task->telling = false;
    if (task->held == HELD_RUN)
        task->held = HELD_END;
    if (task->calls == 0)
        worker_task_free(task);
}

void worker_task_lose(struct worker_task *task)
{
    if (task->lost)
        return;
    log_info("a lease was lost", "task_id", task->id, "fence", LOG_NUM(task->job.fence));
    if (task->held == HELD_RUN) {
        task->lost = true;
        slots_stop(task->worker->slots, &task->job, STOP_LOST);
    } else {
        finish(task);
    }
}

void worker_task_cancel(struct worker_task *task)
{
    if (task->held == HELD_RUN && !task->lost)
        slots_stop(task->worker->slots, &task->job, STOP_CANCEL);
}

/* Whether the answer means that the lease is somebody else's. */
static bool refused(enum queue_code code)
{
    return code != QUEUE_OK && code != QUEUE_UNAVAILABLE;
}

/* ---- started ------------------------------------------------------------------------------------------- */

static void on_begun_told(void *ctx, enum queue_code code)
{
    struct worker_task *task = ctx;
    if (code == QUEUE_UNAVAILABLE)
        task->told_begun = false;
    if (!returned(task))
        return;
    if (refused(code))
        worker_task_lose(task);
}

static void tell_begun(struct worker_task *task)
{
    task->told_begun = true;
    task->calls++;
    queue_started(task->worker->queue, task->id, task->job.fence, on_begun_told, task);
}

static void on_started(struct slot_job *job)
{
    struct worker_task *task = container_of(job, struct worker_task, job);
    task->begun = true;
    if (task->lost)
        return;
    tell_begun(task);
    worker_stream_read(task);
}

/* ---- reports ------------------------------------------------------------------------------------------- */

static void on_final_told(void *ctx, enum queue_code code)
{
    struct final *final = ctx;
    struct worker_task *task = final->task;
    final->telling = false;
    if (code != QUEUE_UNAVAILABLE) {
        list_remove(&final->node);
        free(final);
    }
    if (returned(task) && refused(code))
        worker_task_lose(task);
}

static void tell_final(struct final *final)
{
    struct worker_task *task = final->task;
    struct span text = {final->text, final->size};
    struct queue_update update = {
        .kind = final->kind, .id = task->id, .fence = task->job.fence, .number = final->number};
    if (final->kind == QUEUE_LOG)
        update.message = text;
    else
        update.meta = text;
    final->telling = true;
    task->calls++;
    queue_update(task->worker->queue, &update, on_final_told, final);
}

/* Whether the newest of what is kept can be told now: a number that overtakes an earlier one would make it
 * count as told. */
static bool in_turn(const struct worker_task *task)
{
    struct list *last = task->finals.prev;
    return task->worker->ready &&
           (last == &task->finals || container_of(last, const struct final, node)->telling);
}

static void on_update(struct slot_job *job, const struct queue_update *update)
{
    struct worker_task *task = container_of(job, struct worker_task, job);
    if (task->lost)
        return;
    if (update->kind != QUEUE_FINAL && update->kind != QUEUE_LOG) {
        struct queue_update told = *update;
        told.task = job->type->name;
        told.reported = &task->reported;
        queue_update(task->worker->queue, &told, NULL, NULL);
        return;
    }
    struct span text = update->kind == QUEUE_LOG ? update->message : update->meta;
    struct final *final = xmalloc(sizeof *final + text.n);
    *final = (struct final){.task = task, .kind = update->kind, .number = ++task->numbered, .size = text.n};
    memcpy(final->text, text.p, text.n);
    bool now = in_turn(task);
    list_append(&task->finals, &final->node);
    if (now)
        tell_final(final);
}

/* ---- the end ---------------------------------------------------------------------------------------------
 */

static void on_told(void *ctx, enum queue_code code)
{
    struct worker_task *task = ctx;
    task->telling = false;
    task->calls--;
    if (code == QUEUE_UNAVAILABLE && !task->lost)
        return; /* it is said again when Redis answers */
    if (refused(code))
        log_info("a report came too late and changed nothing", "task_id", task->id, "fence",
                 LOG_NUM(task->job.fence));
    finish(task);
}

/* What Redis did not take the first time. */
static void tell_what_came_before(struct worker_task *task)
{
    if (task->begun && !task->told_begun)
        tell_begun(task);
    list_for_each (node, &task->finals) {
        struct final *final = container_of(node, struct final, node);
        if (!final->telling)
            tell_final(final);
    }
}

/* Tells the end, and before it what must stand before it. */
static void tell(struct worker_task *task)
{
    struct queue *queue = task->worker->queue;
    if (task->telling || task->lost)
        return;
    tell_what_came_before(task);
    task->telling = true;
    task->calls++;
    const char *text = task->end_text ? task->end_text : "{}";
    struct queue_end end = {
        .kind = task->end_kind,
        .id = task->id,
        .fence = task->job.fence,
        .retry = task->end_retry,
        .result = task->end_kind == QUEUE_COMPLETED ? (struct span){text, task->result_size} : SPAN_NONE,
        .error_code = {text + task->result_size, task->code_size},
        .error = {text + task->result_size + task->code_size, task->error_size},
    };
    queue_end(queue, &end, on_told, task);
}

static void keep_end(struct worker_task *task, const struct queue_end *end)
{
    task->held = HELD_END;
    task->end_kind = end->kind;
    task->end_retry = end->retry;
    task->result_size = end->result.n;
    task->code_size = end->error_code.n;
    task->error_size = end->error.n;
    if (end->error_code.n + end->error.n == 0 && span_is(end->result, "{}"))
        return; /* needs no memory */
    struct buf text = BUF_INIT;
    buf_append_span(&text, end->result);
    buf_append_span(&text, end->error_code);
    buf_append_span(&text, end->error);
    task->end_text = buf_take_string(&text);
}

static void on_ended(struct slot_job *job, const struct queue_end *end)
{
    struct worker_task *task = container_of(job, struct worker_task, job);
    task->worker->done++;
    if (task->lost || end == NULL) {
        finish(task);
        return;
    }
    keep_end(task, end);
    tell(task);
}

static void on_returned(struct slot_job *job)
{
    struct worker_task *task = container_of(job, struct worker_task, job);
    keep_end(task, &(struct queue_end){.kind = QUEUE_RETURNED});
    if (task->lost)
        finish(task);
    else
        tell(task);
}

void worker_task_refuse(struct worker_task *task, enum queue_end_kind kind, const char *code,
                        const char *error)
{
    keep_end(task, &(struct queue_end){.kind = kind, .error_code = span_of(code), .error = span_of(error)});
    tell(task);
}

void worker_tell_again(struct worker *worker)
{
    list_for_each_safe (node, after, &worker->tasks) {
        struct worker_task *task = container_of(node, struct worker_task, node);
        if (task->lost)
            continue;
        if (task->held == HELD_RUN)
            tell_what_came_before(task);
        else
            tell(task);
    }
}

/* ---- services
 * ---------------------------------------------------------------------------------------------- */

struct question {
    struct list node;
    struct worker *worker;
    char id[ID_SIZE];
    unsigned fence;
    uint32_t call;
};

static void on_answer(void *ctx, json_t *answer)
{
    struct question *question = ctx;
    struct worker_task *task = worker_task_find(question->worker, question->id);
    char *text = answer ? json_dumps(answer, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(answer);
    if (task && task->held == HELD_RUN && task->job.proc && task->job.fence == question->fence)
        slots_answer(&task->job, question->call, span_of(text));
    free(text);
    list_remove(&question->node);
    free(question);
}

void worker_forget_questions(struct worker *worker)
{
    for (struct list *node; (node = list_pop(&worker->questions)) != NULL;)
        free(container_of(node, struct question, node));
}

static void on_call(struct slot_job *job, uint32_t call, const char *name, struct span args)
{
    struct worker_task *task = container_of(job, struct worker_task, job);
    const struct service *service = service_find(name, job->type->name);
    json_t *tree = service && args.p ? json_loadb(args.p, args.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (tree == NULL || !task->worker->ready) {
        json_decref(tree);
        slots_answer(job, call, SPAN_NONE);
        return;
    }
    struct question *question = xcalloc(1, sizeof *question);
    question->worker = task->worker;
    memcpy(question->id, task->id, sizeof question->id);
    question->fence = job->fence;
    question->call = call;
    list_append(&task->worker->questions, &question->node);
    service->call(task->worker->queue, job->owner, tree, on_answer, question);
    json_decref(tree);
}

static void on_taken(struct slot_job *job, uint64_t total)
{
    worker_stream_taken(container_of(job, struct worker_task, job), total);
}

const struct slots_hooks worker_slots_hooks = {
    .started = on_started,
    .update = on_update,
    .call = on_call,
    .audio_taken = on_taken,
    .ended = on_ended,
    .returned = on_returned,
};
