/* SPDX-License-Identifier: MIT */
/* What people do, noted in Redis; see usage.h. Each call is one function of tasks/queue/lua/85_domain.lua. */
#include "tasks/queue/usage.h"

#include "tasks/queue/client_private.h"

static void on_impression(struct op *op, const redisReply *answer)
{
    enum queue_code code = QUEUE_UNAVAILABLE;
    if (answer)
        code = answer->integer == 1 ? QUEUE_OK : QUEUE_GLOBAL_LIMIT;
    op->fn.done(op->ctx, code);
}

void usage_impression(struct queue *queue, const char *resource_id, const char *kind, queue_done_fn *fn,
                      void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("impression"), on_impression, (union answer_fn){.done = fn}, ctx);
    words_text(&op->words, resource_id);
    words_text(&op->words, kind ? kind : "view");
}

void usage_session(struct queue *queue, const char *owner, const char *session, int64_t expires_at_s)
{
    struct op *op = op_new(queue, FUNCTION("session"), NULL, NOBODY, NULL);
    words_text(&op->words, owner);
    words_text(&op->words, session);
    words_signed(&op->words, expires_at_s);
}
