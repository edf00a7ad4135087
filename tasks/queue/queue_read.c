/* The owner's side of the queue: get, list, snapshot, cancel, retry, why, figures, notifications; see
 * queue.h. Loop thread only. */
#include "tasks/queue/queue_private.h"

#define SNAPSHOT_TASKS "200"
#define OPTIONAL_BYTES "98304" /* results, metas, messages and pieces of one list, which is one frame */

static void copy_text(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

static struct op *answer_op(struct queue *queue, const char *function,
                            void (*done)(struct op *op, const redisReply *answer), queue_answer_fn *fn,
                            void *ctx)
{
    struct op *op = op_new(queue, function, done);
    op->fn.answer = fn;
    op->ctx = ctx;
    return op;
}

static void words_caller(struct words *words, const char *id, const char *owner, bool any)
{
    words_text(words, id);
    words_text(words, owner);
    words_text(words, any ? "1" : "0");
}

static void reply_with(struct op *op, struct queue_answer *answer)
{
    answer->json = buf_span(&op->queue->json);
    op->fn.answer(op->ctx, answer);
    if (op->queue->json.cap > (1u << 20))
        buf_free(&op->queue->json);
}

/* ---- one task --------------------------------------------------------------------------------------- */

static void on_got(struct op *op, const redisReply *reply)
{
    struct queue_answer answer = {.code = reply_code(reply, 0)};
    const redisReply *row = reply_array(reply, 1);
    buf_clear(&op->queue->json);
    copy_text(answer.id, sizeof answer.id, op->id);
    if (row) {
        copy_text(answer.status, sizeof answer.status, reply_text(row, 3));
        copy_text(answer.stage, sizeof answer.stage, reply_text(row, 4));
        answer.seq = (uint64_t)reply_number(row, 11);
        queue_json_task(&op->queue->json, row);
    }
    reply_with(op, &answer);
}

void queue_get(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx)
{
    struct op *op = answer_op(queue, FUNCTION("get"), on_got, fn, ctx);
    copy_text(op->id, sizeof op->id, id);
    words_caller(&op->words, id, who->owner, who->any_read);
}

static void on_why(struct op *op, const redisReply *reply)
{
    struct queue_answer answer = {.code = reply_code(reply, 0)};
    buf_clear(&op->queue->json);
    copy_text(answer.id, sizeof answer.id, op->id);
    if (answer.code == QUEUE_OK) {
        copy_text(answer.status, sizeof answer.status, reply_text(reply, 1));
        copy_text(answer.stage, sizeof answer.stage, reply_text(reply, 2));
        queue_json_why(&op->queue->json, op->id, reply);
    }
    reply_with(op, &answer);
}

void queue_why(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx)
{
    struct op *op = answer_op(queue, FUNCTION("why"), on_why, fn, ctx);
    copy_text(op->id, sizeof op->id, id);
    words_caller(&op->words, id, who->owner, who->any_read);
}

static void on_cancelled(struct op *op, const redisReply *reply)
{
    struct queue_answer answer = {.code = reply_code(reply, 0)};
    buf_clear(&op->queue->json);
    copy_text(answer.id, sizeof answer.id, op->id);
    copy_text(answer.status, sizeof answer.status, reply_text(reply, 1));
    copy_text(answer.stage, sizeof answer.stage, reply_text(reply, 2));
    answer.seq = (uint64_t)reply_number(reply, 3);
    reply_with(op, &answer);
}

void queue_cancel(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
                  void *ctx)
{
    struct op *op = answer_op(queue, FUNCTION("cancel"), on_cancelled, fn, ctx);
    copy_text(op->id, sizeof op->id, id);
    op_retention(op);
    words_caller(&op->words, id, who->owner, who->any_write);
}

/* {code, seq, status, retry ms, body of the accepted event} */
static void on_retried(struct op *op, const redisReply *reply)
{
    struct queue_answer answer = {.code = reply_code(reply, 0)};
    buf_clear(&op->queue->json);
    copy_text(answer.id, sizeof answer.id, op->id);
    copy_text(answer.status, sizeof answer.status, reply_text(reply, 2));
    answer.seq = (uint64_t)reply_number(reply, 1);
    answer.retry_ms = (uint64_t)reply_number(reply, 3);
    buf_append_span(&op->queue->json, reply_span(reply, 4));
    reply_with(op, &answer);
}

void queue_retry(struct queue *queue, const struct queue_caller *who, const char *id, const char *new_id,
                 const char *own_arg, queue_answer_fn *fn, void *ctx)
{
    struct op *op = answer_op(queue, FUNCTION("retry"), on_retried, fn, ctx);
    copy_text(op->id, sizeof op->id, new_id);
    words_number(&op->words, queue->config.user_tasks);
    words_number(&op->words, queue->config.global_tasks);
    words_number(&op->words, queue->config.user_light);
    words_caller(&op->words, id, who->owner, who->any_write);
    words_text(&op->words, new_id);
    words_text(&op->words, own_arg ? own_arg : "");
}

/* ---- many tasks --------------------------------------------------------------------------------------- */

static void on_json(struct op *op, const redisReply *reply)
{
    void (*const *write)(struct buf * to, const redisReply *answer) = op->more;
    struct queue_answer answer = {.code = reply ? QUEUE_OK : QUEUE_UNAVAILABLE};
    buf_clear(&op->queue->json);
    if (reply)
        (*write)(&op->queue->json, reply);
    reply_with(op, &answer);
}

typedef void json_writer(struct buf *to, const redisReply *answer);
static json_writer *write_list = queue_json_list, *write_snapshot = queue_json_snapshot,
                   *write_stats = queue_json_stats, *write_workers = queue_json_workers;

void queue_list(struct queue *queue, const struct queue_filter *filter, queue_answer_fn *fn, void *ctx)
{
    struct op *op = answer_op(queue, FUNCTION("list"), on_json, fn, ctx);
    op->more = &write_list;
    words_number(&op->words, queue->config.retention_light_ms);
    words_text(&op->words, filter->owner);
    words_text(&op->words, filter->status);
    words_text(&op->words, filter->task);
    words_signed(&op->words, filter->since_ms);
    words_signed(&op->words, filter->until_ms);
    words_text(&op->words, filter->cursor);
    words_number(&op->words, filter->limit ? filter->limit : 50);
    words_text(&op->words, OPTIONAL_BYTES);
}

void queue_snapshot(struct queue *queue, const char *owner, queue_answer_fn *fn, void *ctx)
{
    struct op *op = answer_op(queue, FUNCTION("snapshot"), on_json, fn, ctx);
    op->more = &write_snapshot;
    words_text(&op->words, owner);
    words_text(&op->words, SNAPSHOT_TASKS);
    words_text(&op->words, OPTIONAL_BYTES);
}

void queue_stats(struct queue *queue, queue_answer_fn *fn, void *ctx)
{
    struct op *op = answer_op(queue, FUNCTION("stats"), on_json, fn, ctx);
    op->more = &write_stats;
    words_number(&op->words, queue->config.retention_light_ms);
}

void queue_workers(struct queue *queue, queue_answer_fn *fn, void *ctx)
{
    struct op *op = answer_op(queue, FUNCTION("workers"), on_json, fn, ctx);
    op->more = &write_workers;
}

/* ---- notifications --------------------------------------------------------------------------------------
 */

static void on_notified(struct op *op, const redisReply *reply)
{
    if (op->fn.done)
        op->fn.done(op->ctx, reply ? QUEUE_OK : QUEUE_UNAVAILABLE);
}

void queue_notify(struct queue *queue, const char *owner, const char *id, struct span body, queue_done_fn *fn,
                  void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("notify"), on_notified);
    op->fn.done = fn;
    op->ctx = ctx;
    words_text(&op->words, owner);
    words_text(&op->words, id);
    words_json(&op->words, body);
}
