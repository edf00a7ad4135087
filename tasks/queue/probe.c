/* SPDX-License-Identifier: MIT */
/* Probes whether Redis accepts the writes that tasks need; see queue.h. No state; loop thread only. */
#include "tasks/queue/client_private.h"

/* The queues that workers serve. Routes may leave one without tasks; then its workers are not missed. */
static const char *const queues[] = {"default", "live"};

_Static_assert(NELEMS(queues) < NELEMS(((struct queue_probed *)NULL)->unserved), "with its end");

/* {0, bytes used, maxmemory, number of listeners per queue's bell} */
static void on_probed(struct op *op, const redisReply *answer)
{
    struct queue_probed probed = {.refusal = op->queue->refusal};
    size_t count = 0;
    probed.answered = answer || probed.refusal != REDIS_TAKES;
    probed.used_bytes = (uint64_t)reply_number(answer, 1);
    probed.max_bytes = (uint64_t)reply_number(answer, 2);
    for (size_t i = 0; answer && i < NELEMS(queues); i++)
        if (reply_number(answer, 3 + i) == 0)
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
