/* One Redis connection; see redis.h. Loop thread only. Its states: waiting (for the next attempt),
 * connecting, greeting (AUTH, SELECT and a PING that proves the data set is loaded), up. One timer serves
 * as back-off, as deadline of an attempt and as watchdog, another notices a stall. Never blocks. */
#include "hub/redis/redis_private.h"

#include "hub/base/log.h"
#include "hub/base/metrics.h"

#include <arpa/inet.h>

#include <sodium.h>

#define CONNECT_MS 5000
#define REPLY_BYTES_MAX (256u << 20)
#define REPLY_DEPTH_MAX 8
#define WATCH_TICKS 4 /* per timeout */
#define ASK_TICKS 2   /* then a subscriber that heard nothing asks for a sign of life */
#define PULSE_MS 20
#define STALL_PULSES 9 /* whoever waits shall know within 200 ms */

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
    if (redis->was_up)
        metric_add(METRIC_REDIS_RECONNECTS, 1);
    redis->was_up = false;
    uv_timer_start(&redis->timer, on_backoff, backoff_failed(&redis->backoff, &backoff_connection), 0);
    if (redis->hooks.on_down)
        redis->hooks.on_down(redis->hooks.ctx, text);
}

/* Gives the connection up from our side. */
static void drop(struct redis *redis, const char *reason)
{
    redisAsyncContext *ac = redis->ac;
    redis->state = WAITING; /* callbacks that get NULL now must not issue anything */
    redis->ac = NULL;
    redis_resolve_cancel(&redis->resolve);
    if (ac) {
        ac->data = NULL;
        redisAsyncFree(ac);
    }
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
    redis->quiet = redis->silent = 0;
    if (reply == NULL && redis->state != CLOSED)
        redis->state = WAITING; /* the context is being torn down */
    if (call->fn)
        call->fn(call->ctx, reply);
    free(call);
}

/* Beats, like those of the watchdog, are counted and not measured: replies that wait to be read while this
 * process is busy are read between two beats. */
static void on_pulse(uv_timer_t *timer)
{
    struct redis *redis = timer->data;
    if (redis->in_flight == 0)
        uv_timer_stop(timer);
    else if (++redis->silent == STALL_PULSES && redis->state == UP)
        redis->on_stall(redis->stall_ctx);
}

static void begin_waiting(struct redis *redis)
{
    redis->quiet = redis->silent = 0;
    if (redis->on_stall && !uv_is_active((uv_handle_t *)&redis->pulse))
        uv_timer_start(&redis->pulse, on_pulse, PULSE_MS, PULSE_MS);
}

static void append_word(struct buf *to, const char *word, size_t size)
{
    buf_append_char(to, '$');
    buf_append_u64(to, size);
    buf_append(to, "\r\n", 2);
    buf_append(to, word, size);
    buf_append(to, "\r\n", 2);
}

void redis_encode(struct buf *to, int argc, const char *const *argv, const size_t *lengths)
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
        begin_waiting(redis);
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
    redis_encode(&redis->command, argc, argv, lengths);
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
    bool due = redis->in_flight || redis->subs;
    if (due && ++redis->quiet > WATCH_TICKS)
        drop(redis, "no answer in time");
    else if (due && redis->in_flight == 0 && redis->quiet == ASK_TICKS)
        redis_subs_ask(redis);
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
    backoff_succeeded(&redis->backoff);
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
    redis_encode(&redis->command, argc, argv, NULL);
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

/* Takes over a context that hiredis has begun to connect. */
static void adopt(struct redis *redis, redisAsyncContext *ac)
{
    if (ac && ac->err == 0)
        redis->adapter = redis_adapter_attach(redis->loop, ac);
    if (redis->adapter == NULL) {
        char reason[160];
        snprintf(reason, sizeof reason, "%s", ac && ac->err ? ac->errstr : "cannot watch the socket");
        if (ac)
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
}

static void on_resolved(void *ctx, const char *address, const char *error)
{
    struct redis *redis = ctx;
    redis->resolve = NULL;
    if (address)
        adopt(redis, redisAsyncConnect(address, (int)redis->url.port));
    else
        wait_again(redis, error);
}

static bool is_numeric(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static void connect_now(struct redis *redis)
{
    redis->state = CONNECTING;
    redis->adapter = NULL;
    uv_timer_start(&redis->timer, on_deadline, CONNECT_MS, 0);
    if (redis->url.unix_path)
        adopt(redis, redisAsyncConnectUnix(redis->url.unix_path));
    else if (is_numeric(redis->url.host))
        adopt(redis, redisAsyncConnect(redis->url.host, (int)redis->url.port));
    else
        redis->resolve =
            redis_resolve(redis->loop, redis->url.host, redis->backoff.failures, on_resolved, redis);
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
    uv_timer_init(&loop->uv, &redis->pulse);
    redis->timer.data = redis->pulse.data = redis;
    redis->timers = 2;
    loop_hook(loop, LOOP_STAGE_REDIS, flush, redis);
    redis->state = WAITING;
    uv_timer_start(&redis->timer, on_backoff, 0, 0);
    return redis;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct redis *redis = handle->data;
    if (--redis->timers)
        return;
    redis_subs_free(redis);
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
    redis_resolve_cancel(&redis->resolve);
    if (ac) {
        ac->data = NULL;
        redisAsyncFree(ac);
    }
    uv_close((uv_handle_t *)&redis->timer, on_timer_closed);
    uv_close((uv_handle_t *)&redis->pulse, on_timer_closed);
}

bool redis_is_up(const struct redis *redis)
{
    return redis->state == UP;
}

size_t redis_in_flight(const struct redis *redis)
{
    return redis->in_flight;
}

void redis_on_stall(struct redis *redis, void (*fn)(void *ctx), void *ctx)
{
    redis->on_stall = fn;
    redis->stall_ctx = ctx;
}

bool redis_is_stalled(const struct redis *redis)
{
    return redis->state == UP && redis->in_flight && redis->silent >= STALL_PULSES;
}

void redis_probe(struct redis *redis)
{
    if (redis->in_flight == 0)
        redis_callv(redis, NULL, NULL, "PING", NULL);
}
