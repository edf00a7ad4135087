/* SPDX-License-Identifier: MIT */
/* Audio streams as the queue keeps them; see queue.h. Loop thread only. */
#include "tasks/queue/client_private.h"

/* {code, received, ended} */
static struct queue_audio parse_stand(const redisReply *stand)
{
    return (struct queue_audio){reply_code(stand, 0), (uint64_t)reply_number(stand, 1),
                                reply_number(stand, 2) != 0};
}

static void on_appended(struct batch *batch, const redisReply *answer)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct queue_audio audio = parse_stand(reply_array(answer, i));
        if (batch->items[i].fn.audio)
            batch->items[i].fn.audio(batch->items[i].ctx, &audio);
    }
}

static const struct stage_call append_call = {STAGE_AUDIO, FUNCTION("audio_append"), NULL, on_appended};

void queue_audio_append(struct queue *queue, const char *owner, const char *id, uint64_t offset,
                        struct span bytes, queue_audio_fn *fn, void *ctx)
{
    struct batch *batch;
    struct item *item = item_new(queue, &append_call, id, (union answer_fn){.audio = fn}, ctx, &batch);
    words_text(&batch->words, owner);
    words_text(&batch->words, id);
    words_number(&batch->words, offset);
    item->last = bytes;
    batch->beside += bytes.n;
    item_done(batch);
}

static void on_stand(struct op *op, const redisReply *answer)
{
    struct queue_audio audio = parse_stand(answer);
    if (op->fn.audio)
        op->fn.audio(op->ctx, &audio);
}

static void stand_op(struct queue *queue, const char *function, const char *owner, const char *id,
                     queue_audio_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, function, on_stand, (union answer_fn){.audio = fn}, ctx);
    words_text(&op->words, owner);
    words_text(&op->words, id);
}

void queue_audio_end(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx)
{
    stand_op(queue, FUNCTION("audio_end"), owner, id, fn, ctx);
}

void queue_audio_take(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx)
{
    stand_op(queue, FUNCTION("audio_take"), owner, id, fn, ctx);
}

void queue_audio_keep(struct queue *queue, const char *const *ids, size_t count, uint64_t keep_ms)
{
    struct op *op = op_new(queue, FUNCTION("audio_keep"), NULL, NOBODY, NULL);
    words_number(&op->words, keep_ms);
    for (size_t i = 0; i < count; i++)
        words_text(&op->words, ids[i]);
}

static void on_failed(struct op *op, const redisReply *answer)
{
    enum queue_code code = QUEUE_UNAVAILABLE;
    if (answer && answer->type == REDIS_REPLY_INTEGER)
        code = (enum queue_code)answer->integer;
    if (op->fn.done)
        op->fn.done(op->ctx, code);
}

void queue_audio_fail(struct queue *queue, const char *owner, const char *id, const char *code,
                      const char *error, queue_done_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("audio_fail"), on_failed, (union answer_fn){.done = fn}, ctx);
    op_retention(op);
    words_text(&op->words, owner);
    words_text(&op->words, id);
    words_word(&op->words, code, strlen(code));
    words_quoted(&op->words, span_of(error), 512);
}

static void on_read(struct op *op, const redisReply *answer)
{
    struct queue_audio stand = parse_stand(answer);
    struct buf *bytes = &op->queue->json;
    buf_clear(bytes);
    for (size_t i = 3; i < reply_count(answer); i++)
        buf_append_span(bytes, reply_span(answer, i));
    op->fn.data(op->ctx, stand.code, buf_span(bytes), stand.ended, stand.received);
}

void queue_audio_read(struct queue *queue, const char *owner, const char *id, uint64_t offset,
                      size_t max_bytes, queue_audio_data_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("audio_read"), on_read, (union answer_fn){.data = fn}, ctx);
    words_text(&op->words, owner);
    words_text(&op->words, id);
    words_number(&op->words, offset);
    words_number(&op->words, max_bytes);
}
