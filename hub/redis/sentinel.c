/* SPDX-License-Identifier: MIT */
/* Asks Sentinels for a primary; see sentinel.h. Uses an ordinary Redis connection, which tries the Sentinels'
 * addresses in turn. */
#include "hub/redis/sentinel.h"

#include "hub/redis/redis.h"

#include <stdio.h>

#define ANSWER_MS 2000
#define REASON_BYTES 200

struct sentinel {
    struct redis *redis; /* connected to one Sentinel */
    char *name;          /* name of the primary */
    struct sentinel_hooks hooks;
    unsigned count;    /* Sentinels */
    unsigned failures; /* since the last answer */
    bool asking;       /* a question is under way */
    char *host;        /* the last answer of this Sentinel; NULL = none since it was connected */
    unsigned port;
};

static void forget(struct sentinel *sentinel)
{
    free(sentinel->host);
    sentinel->host = NULL;
}

static void report_primary(struct sentinel *sentinel, const char *host, unsigned port)
{
    bool moved = sentinel->host && (sentinel->port != port || strcmp(sentinel->host, host) != 0);
    sentinel->failures = 0;
    forget(sentinel);
    sentinel->host = xstrdup(host);
    sentinel->port = port;
    sentinel->hooks.on_primary(sentinel->hooks.ctx, host, port, moved);
}

/* `reply`: {host, port}; nil if the Sentinel does not know the name. */
static void on_answer(void *ctx, const redisReply *reply)
{
    struct sentinel *sentinel = ctx;
    sentinel->asking = false;
    if (reply == NULL)
        return;
    bool known = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[0]->str &&
                 reply->element[1]->str;
    if (known)
        report_primary(sentinel, reply->element[0]->str, (unsigned)strtoul(reply->element[1]->str, NULL, 10));
    else
        redis_leave(sentinel->redis, reply->type == REDIS_REPLY_ERROR
                                         ? reply->str
                                         : "it knows no primary of the name in redis.url");
}

static void ask(struct sentinel *sentinel)
{
    if (sentinel->asking)
        return;
    sentinel->asking = true;
    redis_callv(sentinel->redis, on_answer, sentinel, "SENTINEL", "get-master-addr-by-name", sentinel->name,
                NULL);
}

static void on_up(void *ctx)
{
    ask(ctx);
}

/* Reports trouble only when no Sentinel has answered for a whole round. */
static void on_down(void *ctx, const char *reason)
{
    struct sentinel *sentinel = ctx;
    char text[REASON_BYTES];
    snprintf(text, sizeof text, "no Sentinel tells where the primary is: %s", reason);
    forget(sentinel);
    if (++sentinel->failures % sentinel->count == 0)
        sentinel->hooks.on_trouble(sentinel->hooks.ctx, text);
}

struct sentinel *sentinel_new(struct loop *loop, const struct redis_url *url, struct sentinel_hooks hooks)
{
    struct sentinel *sentinel = xcalloc(1, sizeof *sentinel);
    struct redis_url at = {
        .place_count = url->place_count, .user = url->sentinel_user, .password = url->sentinel_password};
    memcpy(at.places, url->places, sizeof at.places);
    sentinel->hooks = hooks;
    sentinel->count = url->place_count;
    sentinel->name = xstrdup(url->sentinel);
    sentinel->redis = redis_new(loop, &at, ANSWER_MS, (struct redis_hooks){on_up, on_down, sentinel});
    return sentinel;
}

void sentinel_free(struct sentinel **sentinel_at)
{
    struct sentinel *sentinel = *sentinel_at;
    if (sentinel == NULL)
        return;
    *sentinel_at = NULL;
    redis_free(&sentinel->redis);
    forget(sentinel);
    free(sentinel->name);
    free(sentinel);
}

void sentinel_ask(struct sentinel *sentinel, bool doubted)
{
    if (!redis_is_up(sentinel->redis))
        return; /* on_up() asks */
    if (doubted && sentinel->count > 1)
        redis_leave(sentinel->redis, "the address that it gave does not work");
    else
        ask(sentinel);
}
