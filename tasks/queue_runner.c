/* The runner's side of the queue: leases, starts, updates, ends, beats; see queue.h. Loop thread only. */
#include "tasks/queue_private.h"

#define MESSAGE_MAX 512
#define ERROR_MAX 4096

/* ---- many per call ---------------------------------------------------------------------------------- */

void batch_codes(struct batch *batch, const redisReply *answer)
{
    size_t at = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        if (item->skipped)
            continue;
        enum queue_code code = reply_code(answer, at++);
        if (item->started_fn)
            item->started_fn(item->started_ctx, code);
        if (item->fn.done)
            item->fn.done(item->ctx, code);
    }
}

static struct item *attempt_item(struct queue *queue, enum stage stage, const char *id, unsigned attempt,
                                 struct batch **ret_batch)
{
    struct item *item = item_new(queue, stage, id, ret_batch);
    item->attempt = attempt;
    words_text(&(*ret_batch)->words, id);
    words_number(&(*ret_batch)->words, attempt);
    return item;
}

static void stage_attempt(struct queue *queue, enum stage stage, const char *id, unsigned attempt,
                          queue_done_fn *fn, void *ctx)
{
    struct batch *batch;
    struct item *item = attempt_item(queue, stage, id, attempt, &batch);
    item->fn.done = fn;
    item->ctx = ctx;
    item_done(batch);
}

void queue_started(struct queue *queue, const char *id, unsigned attempt, queue_done_fn *fn, void *ctx)
{
    stage_attempt(queue, STAGE_STARTED, id, attempt, fn, ctx);
}

void queue_release(struct queue *queue, const char *id, unsigned attempt, queue_done_fn *fn, void *ctx)
{
    stage_attempt(queue, STAGE_RELEASE, id, attempt, fn, ctx);
}

void queue_update(struct queue *queue, const struct queue_update *update, queue_done_fn *fn, void *ctx)
{
    static const char *const kinds[] = {
        [QUEUE_PROGRESS] = "P", [QUEUE_PARTIAL] = "p", [QUEUE_FINAL] = "F", [QUEUE_LOG] = "L"};
    struct batch *batch;
    struct item *item = attempt_item(queue, STAGE_UPDATE, update->id, update->attempt, &batch);
    int percent = update->percent < 0 ? 0 : update->percent > 100 ? 100 : update->percent;
    item->fn.done = fn;
    item->ctx = ctx;
    words_text(&batch->words, kinds[update->kind]);
    words_number(&batch->words, (uint64_t)percent);
    words_word(&batch->words, update->stage, update->stage ? strlen(update->stage) : 0);
    words_quoted(&batch->words, update->message, MESSAGE_MAX);
    words_json(&batch->words, update->meta);
    words_number(&batch->words, update->number);
    item_done(batch);
}

/* A start of the same turn goes with the end, unless updates stand between them. */
static bool merge_start(struct queue *queue, const struct queue_end *end, struct item *item)
{
    struct item *start = item_find(queue, STAGE_STARTED, end->id);
    if (start == NULL || start->attempt != end->attempt || !list_empty(&queue->sealed[STAGE_UPDATE]) ||
        item_find(queue, STAGE_UPDATE, end->id))
        return false;
    start->skipped = true;
    item->started_fn = start->fn.done;
    item->started_ctx = start->ctx;
    return true;
}

void queue_end(struct queue *queue, const struct queue_end *end, queue_done_fn *fn, void *ctx)
{
    static const char *const kinds[] = {
        [QUEUE_COMPLETED] = "C", [QUEUE_FAILED] = "X", [QUEUE_CANCELLED] = "K", [QUEUE_DIED] = "D"};
    struct batch *batch;
    struct item *item = attempt_item(queue, STAGE_END, end->id, end->attempt, &batch);
    bool started = merge_start(queue, end, item);
    item->fn.done = fn;
    item->ctx = ctx;
    words_text(&batch->words, kinds[end->kind]);
    words_text(&batch->words, started ? (end->retry ? "sr" : "s") : end->retry ? "r" : "");
    if (end->kind == QUEUE_COMPLETED) {
        words_json(&batch->words, end->result);
        words_text(&batch->words, "");
    } else {
        struct span code = end->error_code.n ? end->error_code : SPAN("internal");
        words_quoted(&batch->words, end->error.p ? end->error : SPAN(""), ERROR_MAX);
        words_word(&batch->words, code.p, code.n);
    }
    item_done(batch);
}

/* ---- leases ------------------------------------------------------------------------------------------ */

static void on_leased(struct op *op, const redisReply *answer)
{
    size_t count = reply_count(answer) ? reply_count(answer) - 1 : 0;
    struct queue_leased *tasks = xcalloc(count, sizeof *tasks);
    for (size_t i = 0; i < count; i++) {
        const redisReply *row = reply_array(answer, i + 1);
        const char *flags = reply_text(row, 5);
        struct span args = reply_span(row, 6);
        tasks[i] = (struct queue_leased){
            .id = reply_text(row, 0),
            .owner = reply_text(row, 1),
            .task = reply_text(row, 2),
            .attempt = (unsigned)reply_number(row, 3),
            .max_attempts = (unsigned)reply_number(row, 4),
            .stream = strchr(flags, 's') != NULL,
            .cancelled = strchr(flags, 'c') != NULL,
            .args = args.n ? args : SPAN("{}"),
        };
    }
    op->fn.leased(op->ctx, answer ? QUEUE_OK : QUEUE_UNAVAILABLE, tasks, count,
                  (uint64_t)reply_number(answer, 0));
    free(tasks);
}

void queue_lease(struct queue *queue, const char *name, unsigned count, queue_leased_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, "th1_lease", on_leased);
    op->fn.leased = fn;
    op->ctx = ctx;
    op_retention(op);
    words_text(&op->words, name);
    words_number(&op->words, count);
    words_number(&op->words, queue->config.lease_ms);
}

static void reclaim_from(struct queue *queue, int64_t skip, queue_done_fn *fn, void *ctx);

static void on_reclaimed(struct op *op, const redisReply *answer)
{
    if (answer == NULL || answer->type != REDIS_REPLY_INTEGER) {
        if (op->fn.done)
            op->fn.done(op->ctx, QUEUE_UNAVAILABLE);
    } else if (answer->integer >= 0) {
        reclaim_from(op->queue, answer->integer, op->fn.done, op->ctx);
    } else if (op->fn.done) {
        op->fn.done(op->ctx, QUEUE_OK);
    }
}

/* One slice; the first `skip` leases are those of others. */
static void reclaim_from(struct queue *queue, int64_t skip, queue_done_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, "th1_reclaim", on_reclaimed);
    op->fn.done = fn;
    op->ctx = ctx;
    op_retention(op);
    words_signed(&op->words, skip);
}

void queue_reclaim(struct queue *queue, queue_done_fn *fn, void *ctx)
{
    reclaim_from(queue, 0, fn, ctx);
}

/* The ids of an array of texts; free() the list. */
static const char **texts_of(const redisReply *array)
{
    const char **texts = xcalloc(reply_count(array), sizeof *texts);
    for (size_t i = 0; i < reply_count(array); i++)
        texts[i] = reply_text(array, i);
    return texts;
}

static void on_beat(struct op *op, const redisReply *answer)
{
    const redisReply *lost = reply_array(answer, 0), *cancelled = reply_array(answer, 1);
    const char **lost_ids = texts_of(lost), **cancelled_ids = texts_of(cancelled);
    if (op->fn.beat)
        op->fn.beat(op->ctx, answer ? QUEUE_OK : QUEUE_UNAVAILABLE, lost_ids, reply_count(lost),
                    cancelled_ids, reply_count(cancelled));
    free(lost_ids);
    free(cancelled_ids);
}

void queue_beat(struct queue *queue, const struct queue_beat_item *items, size_t count, struct span info,
                queue_beat_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, "th1_beat", on_beat);
    op->fn.beat = fn;
    op->ctx = ctx;
    op_retention(op);
    words_number(&op->words, queue->config.lease_ms);
    words_json(&op->words, info.n ? info : SPAN("{}"));
    for (size_t i = 0; i < count; i++) {
        words_text(&op->words, items[i].id);
        words_number(&op->words, items[i].attempt);
    }
}
