/* Inside of a Redis connection: what its files share. Loop thread only. */
#pragma once

#include "hub/base/backoff.h"
#include "hub/base/buf.h"
#include "hub/redis/redis.h"
#include "hub/redis/redis_adapter.h"
#include "hub/redis/redis_resolve.h"

struct sub { /* one channel; exists from the first SUBSCRIBE until Redis confirmed the last UNSUBSCRIBE */
    struct sub *next;
    struct redis *redis;
    redis_reply_fn *fn; /* NULL while nobody wants the channel any more */
    void *ctx;
    unsigned leaving; /* UNSUBSCRIBEs not confirmed yet */
    size_t size;
    char channel[];
};

struct redis {
    struct loop *loop;
    struct redis_url url;
    unsigned timeout_ms;
    struct redis_hooks hooks;
    enum { WAITING, CONNECTING, GREETING, UP, CLOSED } state;
    redisAsyncContext *ac; /* NULL while waiting, and while the name is looked up */
    struct redis_resolve *resolve;
    struct redis_adapter *adapter;
    uv_timer_t timer;
    struct backoff backoff;
    size_t in_flight; /* commands without an answer */
    unsigned quiet;   /* watchdog ticks without an answer or message while one is due */
    bool was_up;      /* since the last loss */
    uv_timer_t pulse; /* runs while commands are under way, if on_stall is set */
    unsigned silent;  /* its beats since the last answer */
    void (*on_stall)(void *ctx);
    void *stall_ctx;
    unsigned timers;    /* not closed yet */
    struct buf command; /* scratch: the command being issued */
    struct sub **subs;  /* buckets by channel, NULL until the first subscription */
};

/* Writes a command in the protocol's form. `lengths` NULL = the words end with a NUL. */
void redis_encode(struct buf *to, int argc, const char *const *argv, const size_t *lengths);
/* Makes Redis say something on a connection with subscriptions. */
void redis_subs_ask(struct redis *redis);
/* Frees all subscriptions without telling anybody. */
void redis_subs_free(struct redis *redis);
