/* SPDX-License-Identifier: MIT */
/* Whether Redis takes what tasks need; see queue.h. No state; loop thread only. */
#include "tasks/queue/client_private.h"

/* The queues of workers' engines. Routes may leave one without tasks; then nobody misses its workers. */
static const char *const queues[] = {"default", "live"};

_Static_assert(NELEMS(queues) < NELEMS(((struct queue_probed *)NULL)->unserved), "with its end");

/* {0, listeners of each queue's bell} */
static void on_probed(struct op *op, const redisReply *answer)
{
    struct queue_probed probed = {.refusal = op->queue->refusal};
    size_t count = 0;
    probed.answered = answer || probed.refusal != REDIS_TAKES;
    for (size_t i = 0; answer && i < NELEMS(queues); i++)
        if (reply_number(answer, 1 + i) == 0)
            probed.unserved[count++] = queues[i];
    op->fn.probe(op->ctx, &probed);
}

void queue_probe(struct queue *queue, queue_probe_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("probe"), on_probed, (union answer_fn){.probe = fn}, ctx);
    op_confirmed(op);
    for (size_t i = 0; i < NELEMS(queues); i++)
        words_text(&op->words, queues[i]);
}
