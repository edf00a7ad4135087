/* One Redis connection; see redis.h. Loop thread only. Its states: waiting (for the next attempt),
 * connecting, greeting (AUTH, SELECT and a PING that proves the data set is loaded), up. One timer serves
 * as back-off, as deadline of an attempt and as watchdog. Never blocks but for names in /etc/hosts or DNS. */
#include "hub/redis.h"

#include "hub/buf.h"
#include "hub/log.h"
#include "hub/metrics.h"
#include "hub/redis_adapter.h"

#include <sodium.h>

#define CONNECT_MS 5000
#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 2000
#define REPLY_BYTES_MAX (256u << 20)
#define REPLY_DEPTH_MAX 8
#define SUB_BUCKETS 1024
#define WATCH_TICKS 4 /* per timeout */

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
    redisAsyncContext *ac; /* NULL while waiting */
    struct redis_adapter *adapter;
    uv_timer_t timer;
    unsigned failures;  /* attempts that failed in a row */
    size_t in_flight;   /* commands without an answer */
    unsigned quiet;     /* watchdog ticks without an answer while one is due */
    bool was_up;        /* since the last loss */
    struct buf command; /* scratch: the command being issued */
    struct sub **subs;  /* buckets by channel, NULL until the first subscription */
};

struct call { /* a command on its way */
    struct redis *redis;
    redis_reply_fn *fn;
    void *ctx;
};

static void connect_now(struct redis *redis);

/* ---- losing and waiting ----------------------------------------------------------------------- */

static void on_backoff(uv_timer_t *timer)
{
    connect_now(timer->data);
}

static unsigned backoff_ms(unsigned failures)
{
    unsigned most = BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < failures && most < BACKOFF_MAX_MS; i++)
        most *= 2;
    if (most > BACKOFF_MAX_MS)
        most = BACKOFF_MAX_MS;
    return most / 2 + randombytes_uniform(most / 2 + 1);
}

/* The connection is gone (the context frees itself or was freed): waits for the next attempt. */
static void wait_again(struct redis *redis, const char *reason)
{
    char text[160]; /* the reason may stand in the context that is about to go */
    snprintf(text, sizeof text, "%s", reason && reason[0] ? reason : "connection lost");
    if (redis->state == CLOSED)
        return;
    redis->ac = NULL;
    redis->adapter = NULL;
    redis->state = WAITING;
    redis->failures++;
    if (redis->was_up)
        metric_add(METRIC_REDIS_RECONNECTS, 1);
    redis->was_up = false;
    uv_timer_start(&redis->timer, on_backoff, backoff_ms(redis->failures), 0);
    if (redis->hooks.on_down)
        redis->hooks.on_down(redis->hooks.ctx, text);
}

/* Gives the connection up from our side. */
static void drop(struct redis *redis, const char *reason)
{
    redisAsyncContext *ac = redis->ac;
    redis->state = WAITING; /* callbacks that get NULL now must not issue anything */
    redis->ac = NULL;
    ac->data = NULL;
    redisAsyncFree(ac);
    wait_again(redis, reason);
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
    struct redis *redis = ac->data;
    (void)status;
    if (redis == NULL)
        return;
    wait_again(redis, ac->errstr);
}

/* ---- commands --------------------------------------------------------------------------------- */

static void on_reply(redisAsyncContext *ac, void *reply, void *privdata)
{
    struct call *call = privdata;
    struct redis *redis = call->redis;
    (void)ac;
    redis->in_flight--;
    redis->quiet = 0;
    if (reply == NULL && redis->state != CLOSED)
        redis->state = WAITING; /* the context is being torn down */
    if (call->fn)
        call->fn(call->ctx, reply);
    free(call);
}

static void append_word(struct buf *to, const char *word, size_t size)
{
    buf_append_char(to, '$');
    buf_append_u64(to, size);
    buf_append(to, "\r\n", 2);
    buf_append(to, word, size);
    buf_append(to, "\r\n", 2);
}

static void encode(struct buf *to, int argc, const char *const *argv, const size_t *lengths)
{
    buf_clear(to);
    buf_append_char(to, '*');
    buf_append_u64(to, (uint64_t)argc);
    buf_append(to, "\r\n", 2);
    for (int i = 0; i < argc; i++)
        append_word(to, argv[i], lengths ? lengths[i] : strlen(argv[i]));
    *buf_reserve(to, 1) = '\0'; /* hiredis looks for the words of SUBSCRIBE with string functions */
}

static void issue(struct redis *redis, redis_reply_fn *fn, void *ctx)
{
    struct call *call = xmalloc(sizeof *call);
    *call = (struct call){redis, fn, ctx};
    if (redis->in_flight++ == 0)
        redis->quiet = 0;
    if (redisAsyncFormattedCommand(redis->ac, on_reply, call, redis->command.data, redis->command.len) !=
        REDIS_OK) {
        redis->in_flight--;
        free(call);
        if (fn)
            fn(ctx, NULL);
    }
    if (redis->command.cap > (1u << 20)) /* one large command must not hold its memory for ever */
        buf_free(&redis->command);
}

void redis_call(struct redis *redis, redis_reply_fn *fn, void *ctx, int argc, const char *const *argv,
                const size_t *lengths)
{
    if (redis->state != UP) {
        if (fn)
            fn(ctx, NULL);
        return;
    }
    encode(&redis->command, argc, argv, lengths);
    issue(redis, fn, ctx);
}

#define WORDS_MAX 32

void redis_callv(struct redis *redis, redis_reply_fn *fn, void *ctx, ...)
{
    const char *words[WORDS_MAX];
    int count = 0;
    va_list list;
    va_start(list, ctx);
    for (const char *word; (word = va_arg(list, const char *)) != NULL;) {
        if (count == WORDS_MAX)
            abort();
        words[count++] = word;
    }
    va_end(list);
    redis_call(redis, fn, ctx, count, words, NULL);
}

/* ---- connecting --------------------------------------------------------------------------------- */

static void on_deadline(uv_timer_t *timer)
{
    drop(timer->data, "no answer while connecting");
}

/* Counts turns of the timer and not time, so that a process that was stopped for a while does not take
 * its own sleep for a silent Redis. */
static void on_watch(uv_timer_t *timer)
{
    struct redis *redis = timer->data;
    if (redis->in_flight && ++redis->quiet > WATCH_TICKS)
        drop(redis, "no answer in time");
    else if (redis->ac->c.reader->len - redis->ac->c.reader->pos > REPLY_BYTES_MAX)
        drop(redis, "answer too large");
}

static void on_greeted(void *ctx, const redisReply *reply)
{
    struct redis *redis = ctx;
    if (reply == NULL || redis->state != GREETING)
        return;
    if (reply->type == REDIS_REPLY_ERROR)
        drop(redis, reply->str);
}

static void on_pong(void *ctx, const redisReply *reply)
{
    struct redis *redis = ctx;
    on_greeted(redis, reply);
    if (reply == NULL || redis->state != GREETING)
        return;
    redis->state = UP;
    redis->was_up = true;
    redis->failures = 0;
    uv_timer_stop(&redis->timer);
    if (redis->timeout_ms) {
        unsigned period = redis->timeout_ms / WATCH_TICKS + 1;
        uv_timer_start(&redis->timer, on_watch, period, period);
    }
    if (redis->hooks.on_up)
        redis->hooks.on_up(redis->hooks.ctx);
}

static void greet_with(struct redis *redis, redis_reply_fn *fn, int argc, const char *const *argv)
{
    encode(&redis->command, argc, argv, NULL);
    issue(redis, fn, redis);
    sodium_memzero(redis->command.data, redis->command.len);
}

static void greet(struct redis *redis)
{
    redis->state = GREETING;
    if (redis->url.password && redis->url.user)
        greet_with(redis, on_greeted, 3, (const char *[]){"AUTH", redis->url.user, redis->url.password});
    else if (redis->url.password)
        greet_with(redis, on_greeted, 2, (const char *[]){"AUTH", redis->url.password});
    if (redis->url.db)
        greet_with(redis, on_greeted, 2, (const char *[]){"SELECT", LOG_NUM(redis->url.db)});
    greet_with(redis, on_pong, 1, (const char *[]){"PING"});
}

static void on_connect(const redisAsyncContext *ac, int status)
{
    struct redis *redis = ac->data;
    if (redis == NULL)
        return;
    if (status == REDIS_OK)
        greet(redis);
    else
        wait_again(redis, ac->errstr);
}

#if HIREDIS_MAJOR >= 1
/* hiredis 1.x frees nested arrays by recursion and puts no bound on their depth; 0.14 stops at 7. */
static void *(*create_any_array)(const redisReadTask *task, size_t elements);

static void *create_array(const redisReadTask *task, size_t elements)
{
    unsigned depth = 0;
    for (const redisReadTask *t = task; t; t = t->parent)
        depth++;
    return depth > REPLY_DEPTH_MAX ? NULL : create_any_array(task, elements);
}

static void guard_replies(redisReader *reader)
{
    static redisReplyObjectFunctions guarded;
    guarded = *reader->fn;
    create_any_array = guarded.createArray;
    guarded.createArray = create_array;
    reader->fn = &guarded;
}
#else
static void guard_replies(redisReader *reader)
{
    (void)reader;
}
#endif

static void connect_now(struct redis *redis)
{
    redisAsyncContext *ac = redis->url.unix_path ? redisAsyncConnectUnix(redis->url.unix_path)
                                                 : redisAsyncConnect(redis->url.host, (int)redis->url.port);
    if (ac == NULL) {
        wait_again(redis, "out of memory");
        return;
    }
    redis->state = CONNECTING;
    if (ac->err == 0)
        redis->adapter = redis_adapter_attach(redis->loop, ac);
    if (ac->err || redis->adapter == NULL) {
        char reason[160];
        snprintf(reason, sizeof reason, "%s", ac->err ? ac->errstr : "cannot watch the socket");
        redisAsyncFree(ac);
        wait_again(redis, reason);
        return;
    }
    redis->ac = ac;
    ac->data = redis;
    guard_replies(ac->c.reader);
    if (redis->url.unix_path == NULL)
        redisEnableKeepAlive(&ac->c);
    redisAsyncSetDisconnectCallback(ac, on_disconnect);
    redisAsyncSetConnectCallback(ac, on_connect); /* begins to watch the socket */
    uv_timer_start(&redis->timer, on_deadline, CONNECT_MS, 0);
}

/* ---- subscriptions ---------------------------------------------------------------------------- */

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
    encode(&redis->command, 2, (const char *[]){verb, sub->channel}, (size_t[]){strlen(verb), sub->size});
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

/* ---- life ------------------------------------------------------------------------------------- */

static void flush(void *ctx)
{
    struct redis *redis = ctx;
    if (redis->adapter)
        redis_adapter_flush(redis->adapter);
}

struct redis *redis_new(struct loop *loop, const struct redis_url *url, unsigned timeout_ms,
                        struct redis_hooks hooks)
{
    struct redis *redis = xcalloc(1, sizeof *redis);
    redis->loop = loop;
    redis->timeout_ms = timeout_ms;
    redis->hooks = hooks;
    redis->url = *url;
    char **texts[] = {&redis->url.unix_path, &redis->url.host, &redis->url.user, &redis->url.password};
    for (size_t i = 0; i < NELEMS(texts); i++)
        *texts[i] = *texts[i] ? xstrdup(*texts[i]) : NULL;
    uv_timer_init(&loop->uv, &redis->timer);
    redis->timer.data = redis;
    loop_hook(loop, LOOP_STAGE_REDIS, flush, redis);
    redis->state = WAITING;
    uv_timer_start(&redis->timer, on_backoff, 0, 0);
    return redis;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct redis *redis = handle->data;
    for (size_t i = 0; redis->subs && i < SUB_BUCKETS; i++) {
        for (struct sub *sub = redis->subs[i], *next; sub; sub = next) {
            next = sub->next;
            free(sub);
        }
    }
    free(redis->subs);
    buf_free(&redis->command);
    redis_url_free(&redis->url);
    free(redis);
}

void redis_free(struct redis **redis_at)
{
    struct redis *redis = *redis_at;
    if (redis == NULL)
        return;
    *redis_at = NULL;
    loop_unhook(redis->loop, LOOP_STAGE_REDIS, flush, redis);
    redis->state = CLOSED;
    redisAsyncContext *ac = redis->ac;
    redis->ac = NULL;
    redis->adapter = NULL;
    if (ac) {
        ac->data = NULL;
        redisAsyncFree(ac);
    }
    uv_close((uv_handle_t *)&redis->timer, on_timer_closed);
}

bool redis_is_up(const struct redis *redis)
{
    return redis->state == UP;
}

size_t redis_in_flight(const struct redis *redis)
{
    return redis->in_flight;
}
