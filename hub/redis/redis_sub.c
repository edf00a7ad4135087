/* Subscriptions of a connection; see redis.h. hiredis keeps one callback per channel; the sub here lives
 * until Redis has confirmed the last UNSUBSCRIBE, so that a channel may be left and joined again at once.
 * Loop thread only. */
#include "hub/redis/redis_private.h"

#include <hiredis/async.h>

#define SUB_BUCKETS 1024
#define ALIVE_CHANNEL SPAN("th:alive") /* nobody publishes there */

static struct sub **bucket_of(struct redis *redis, struct span channel)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < channel.n; i++)
        hash = (hash ^ (unsigned char)channel.p[i]) * 16777619u;
    if (redis->subs == NULL)
        redis->subs = xcalloc(SUB_BUCKETS, sizeof(struct sub *));
    return &redis->subs[hash % SUB_BUCKETS];
}

/* Where the pointer to the channel's sub stands; *it is NULL if there is none. */
static struct sub **find_sub(struct redis *redis, struct span channel)
{
    struct sub **at = bucket_of(redis, channel);
    while (*at && !span_equal(channel, (struct span){(*at)->channel, (*at)->size}))
        at = &(*at)->next;
    return at;
}

static void forget_sub(struct redis *redis, struct sub *sub)
{
    struct sub **at = find_sub(redis, (struct span){sub->channel, sub->size});
    *at = sub->next;
    free(sub);
}

static void on_message(redisAsyncContext *ac, void *data, void *privdata)
{
    struct sub *sub = privdata;
    const redisReply *reply = data;
    struct redis *redis = sub->redis;
    (void)ac;
    redis->quiet = 0;
    if (reply == NULL) {
        redis_reply_fn *fn = sub->fn;
        void *ctx = sub->ctx;
        if (redis->state != CLOSED)
            redis->state = WAITING;
        forget_sub(redis, sub);
        if (fn)
            fn(ctx, NULL);
    } else if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
               strcmp(reply->element[0]->str, "unsubscribe") == 0) {
        if (--sub->leaving == 0 && sub->fn == NULL)
            forget_sub(redis, sub);
    } else if (sub->fn) {
        sub->fn(sub->ctx, reply);
    }
}

static int issue_sub(struct redis *redis, const char *verb, struct sub *sub, redisCallbackFn *fn)
{
    redis_encode(&redis->command, 2, (const char *[]){verb, sub->channel},
                 (size_t[]){strlen(verb), sub->size});
    return redisAsyncFormattedCommand(redis->ac, fn, fn ? sub : NULL, redis->command.data,
                                      redis->command.len);
}

void redis_subscribe(struct redis *redis, redis_reply_fn *fn, void *ctx, struct span channel)
{
    if (redis->state != UP) {
        fn(ctx, NULL);
        return;
    }
    struct sub **at = find_sub(redis, channel);
    struct sub *sub = *at;
    if (sub == NULL) {
        *at = sub = xcalloc(1, sizeof *sub + channel.n);
        memcpy(sub->channel, channel.p, channel.n);
        sub->size = channel.n;
        sub->redis = redis;
    }
    sub->fn = fn;
    sub->ctx = ctx;
    if (issue_sub(redis, "SUBSCRIBE", sub, on_message) != REDIS_OK)
        fn(ctx, NULL); /* the context is being torn down: the sub is freed with it or was never sent */
}

void redis_unsubscribe(struct redis *redis, struct span channel)
{
    struct sub *sub = redis->subs ? *find_sub(redis, channel) : NULL;
    if (sub == NULL || sub->fn == NULL)
        return;
    sub->fn = NULL;
    if (redis->state == UP) {
        sub->leaving++;
        if (issue_sub(redis, "UNSUBSCRIBE", sub, NULL) != REDIS_OK)
            sub->leaving--;
    }
}

static void on_alive(void *ctx, const redisReply *reply)
{
    (void)ctx;
    (void)reply;
}

/* By subscribing once more: hiredis 0.14 takes the next message for the answer to a PING. */
void redis_subs_ask(struct redis *redis)
{
    redis_subscribe(redis, on_alive, NULL, ALIVE_CHANNEL);
}

void redis_subs_free(struct redis *redis)
{
    for (size_t i = 0; redis->subs && i < SUB_BUCKETS; i++) {
        for (struct sub *sub = redis->subs[i], *next; sub; sub = next) {
            next = sub->next;
            free(sub);
        }
    }
    free(redis->subs);
    redis->subs = NULL;
}
