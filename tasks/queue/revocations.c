/* SPDX-License-Identifier: MIT */
/* Revoked tokens and sessions as Redis keeps them; see revocations.h. Each call is one function of
 * tasks/queue/lua/78_revocations.lua. Loop thread only. */
#include "tasks/queue/revocations.h"

#include "tasks/queue/client_private.h"

#define EPOCH_BYTES 9
#define FIXED 3 /* words before the entries in the answer */

static void on_added(struct op *op, const redisReply *answer)
{
    op->fn.done(op->ctx, answer && answer->type == REDIS_REPLY_INTEGER ? QUEUE_OK : QUEUE_UNAVAILABLE);
}

void queue_revoke(struct queue *queue, struct span entry, int64_t until_s, queue_done_fn *fn, void *ctx)
{
    char epoch[EPOCH_BYTES];
    struct op *op = op_new(queue, FUNCTION("revoke"), on_added, (union answer_fn){.done = fn}, ctx);
    id_random(epoch, sizeof epoch);
    op_confirmed(op);
    words_add(&op->words, entry);
    words_signed(&op->words, until_s);
    words_text(&op->words, epoch);
}

static void on_page(struct op *op, const redisReply *answer)
{
    struct queue_revocations page = {.ok = reply_count(answer) >= FIXED};
    snprintf(page.epoch, sizeof page.epoch, "%s", reply_text(answer, 0));
    page.newest = (uint64_t)reply_number(answer, 1);
    page.upto = (uint64_t)reply_number(answer, 2);
    for (size_t i = FIXED; i < reply_count(answer) && page.count < QUEUE_REVOCATIONS_PAGE; i++)
        page.entries[page.count++] = reply_span(answer, i);
    op->fn.revocations(op->ctx, &page);
}

void queue_read_revocations(struct queue *queue, uint64_t after, queue_revocations_fn *fn, void *ctx)
{
    struct op *op =
        op_new(queue, FUNCTION("revocations"), on_page, (union answer_fn){.revocations = fn}, ctx);
    words_number(&op->words, after);
    words_number(&op->words, QUEUE_REVOCATIONS_PAGE);
}
