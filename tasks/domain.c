/* Domain data in Redis; see domain.h. Each call is one function of tasks/queue/85_domain.lua; the commands of
 * a turn leave together with everything else. */
#include "tasks/domain.h"

#include "hub/log.h"
#include "tasks/domain_call.h"

#include <stdio.h>

#define FIXED_WORDS                                                                                          \
    5 /* FCALL, function, number of keys, prefix, then origin and incarnation, unused here                   \
       */

struct domain_wait {
    domain_reply_fn *fn;
    void *ctx;
};

static void on_reply(void *ctx, const redisReply *reply)
{
    struct domain_wait wait = *(struct domain_wait *)ctx;
    free(ctx);
    const redisReply *answer = NULL;
    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements >= 1)
        answer = reply->element[0];
    else if (reply && reply->type == REDIS_REPLY_ERROR)
        log_error("a function of Redis failed", "reason", reply->str);
    wait.fn(wait.ctx, answer);
}

void domain_call(struct queue *queue, const char *owner, const char *function, const struct span *args,
                 size_t count, domain_reply_fn *fn, void *ctx)
{
    const char *words[FIXED_WORDS + 1 + DOMAIN_ARGS_MAX] = {
        "FCALL", function, "1", queue_prefix(queue, owner), "-", "-"};
    size_t lengths[NELEMS(words)];
    if (count > DOMAIN_ARGS_MAX)
        abort();
    for (size_t i = 0; i <= FIXED_WORDS; i++)
        lengths[i] = strlen(words[i]);
    for (size_t i = 0; i < count; i++) {
        words[FIXED_WORDS + 1 + i] = args[i].p;
        lengths[FIXED_WORDS + 1 + i] = args[i].n;
    }
    struct domain_wait *wait = xmalloc(sizeof *wait);
    *wait = (struct domain_wait){fn, ctx};
    redis_call(queue_redis(queue), on_reply, wait, (int)(FIXED_WORDS + 1 + count), words, lengths);
}

struct impression {
    queue_done_fn *fn;
    void *ctx;
};

static void on_impression(void *ctx, const redisReply *answer)
{
    struct impression wait = *(struct impression *)ctx;
    free(ctx);
    enum queue_code code = answer == NULL         ? QUEUE_UNAVAILABLE
                           : answer->integer == 1 ? QUEUE_OK
                                                  : QUEUE_GLOBAL_LIMIT;
    wait.fn(wait.ctx, code);
}

void domain_impression(struct queue *queue, const char *resource_id, const char *kind, queue_done_fn *fn,
                       void *ctx)
{
    const struct span args[] = {span_of(resource_id), span_of(kind ? kind : "view")};
    struct impression *wait = xmalloc(sizeof *wait);
    *wait = (struct impression){fn, ctx};
    domain_call(queue, "", "th1_impression", args, NELEMS(args), on_impression, wait);
}

static void on_session(void *ctx, const redisReply *answer)
{
    (void)ctx;
    (void)answer; /* a session that is not registered is only not listed */
}

void domain_session(struct queue *queue, const char *owner, const char *session, int64_t expires_at_s)
{
    char expiry[24];
    snprintf(expiry, sizeof expiry, "%lld", (long long)expires_at_s);
    const struct span args[] = {span_of(owner), span_of(session), span_of(expiry)};
    domain_call(queue, owner, "th1_session", args, NELEMS(args), on_session, NULL);
}
