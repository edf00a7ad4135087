/* SPDX-License-Identifier: MIT */
/* What people do, noted in Redis; see usage.h. Each call is one function of tasks/queue/lua/85_domain.lua.
 * Loop thread only; no state. */
#include "tasks/queue/usage.h"

#include "tasks/queue/client_private.h"

#define IMPRESSION_TEXT 192 /* method, resource and kind */

static void on_impression(struct op *op, const redisReply *answer)
{
    static const enum queue_code codes[] = {QUEUE_GLOBAL_LIMIT, QUEUE_OK, QUEUE_MISMATCH};
    bool known = answer && answer->integer >= 0 && answer->integer < (long long)NELEMS(codes);
    op->fn.done(op->ctx, known ? codes[answer->integer] : QUEUE_UNAVAILABLE);
}

/* Adds the idempotency key. An impression has no id of its own, so that of its effect stands for it. */
static void add_key(struct words *words, const char *effect_id, const char *resource_id, const char *kind)
{
    char what[IMPRESSION_TEXT];
    unsigned char key[KEY_BYTES];
    snprintf(what, sizeof what, "impression.record %s %s", resource_id, kind);
    key_bytes(key, effect_id, effect_id, what, SPAN("{}"));
    words_add(words, (struct span){(char *)key, sizeof key});
}

void usage_impression(struct queue *queue, const char *resource_id, const char *kind, const char *effect_id,
                      queue_done_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("impression"), on_impression, (union answer_fn){.done = fn}, ctx);
    words_text(&op->words, resource_id);
    words_text(&op->words, kind ? kind : "view");
    if (effect_id)
        add_key(&op->words, effect_id, resource_id, kind ? kind : "view");
}

void usage_session(struct queue *queue, const char *owner, const char *session, int64_t expires_at_s)
{
    struct op *op = op_gathers(queue, FUNCTION("session"));
    words_text(&op->words, owner);
    words_text(&op->words, session);
    words_signed(&op->words, expires_at_s);
}
