/* SPDX-License-Identifier: MIT */
/* One Redis connection; see redis.h. Its states: waiting (for the next attempt), connecting, greeting (AUTH,
 * SELECT and a PING that proves that the data set is loaded), up. One timer serves as back-off, as deadline
 * of an attempt and as watchdog; another detects a hang. Of hiredis only its parser is used. Loop thread
 * only. Never blocks. */
#include "hub/redis/redis.h"

#include "hub/base/backoff.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/base/table.h"
#include "hub/redis/redis_refusal.h"
#include "hub/redis/redis_stream.h"
#include "hub/redis/sentinel.h"

#include <errno.h>
#include <hiredis/sds.h>
#include <netdb.h>

#define CONNECT_MS 5000
#define NEXT_PLACE_MS 10
#define REPLICA "READONLY it is a replica"
#define ANOTHER "Redis is another one now"
#define FELL_SHORT "NOREPLICAS fewer replicas than redis.min_replicas have it"
#define FOLLOWERS_MAX 3
#define READ_BYTES 16384 /* the parser moves the unparsed rest of them */
#define KEPT_BYTES 65536 /* most bytes the parser's buffer keeps while it is empty */
#define READS_PER_TURN 16
#define REPLY_BYTES_MAX (256u << 20)
#define REPLY_DEPTH_MAX 8
#define WATCH_TICKS 4  /* watchdog ticks per timeout */
#define ASK_TICKS 2    /* silent ticks after which a subscriber sends a PING */
#define PULSES 10      /* pulses per silence_ms */
#define STALL_PULSES 9 /* silent pulses that are a hang, so that fn is called before silence_ms is over */

struct sub { /* one channel; exists from the first SUBSCRIBE until Redis has confirmed the last UNSUBSCRIBE */
    struct table_node node;
    redis_reply_fn *fn; /* NULL: unsubscribed */
    void *ctx;
    unsigned leaving; /* UNSUBSCRIBEs that Redis has not confirmed yet */
};

struct redis {
    struct loop *loop;
    struct redis_url url;
    unsigned timeout_ms;
    struct redis_hooks hooks;
    enum redis_state { REDIS_WAITING, REDIS_CONNECTING, REDIS_GREETING, REDIS_UP, REDIS_CLOSED } state;
    unsigned place;             /* index of the current or next address; with Sentinels how many there are */
    struct sentinel *sentinel;  /* NULL = none is configured, or the leader asks */
    struct redis_place primary; /* what the Sentinel said; host NULL = nothing yet */
    struct redis *leader;       /* NULL = none; this connection uses the leader's address */
    struct redis *followers[FOLLOWERS_MAX];
    uv_getaddrinfo_t *lookup; /* name lookup of the host; NULL while there is none */
    struct redis_stream stream;
    uv_poll_t *poll;    /* of the socket; NULL while there is none */
    int watched_events; /* events it watches */
    redisReader *reader;
    struct redis_out out;
    struct redis_calls calls;       /* not answered yet, or with answers that wait for replicas */
    unsigned replicas;              /* how many replicas answers wait for; 0 = none */
    char wait_for[12], wait_ms[12]; /* arguments of WAIT */
    bool unconfirmed;               /* commands were issued after the last WAIT */
    void (*fell_short)(void *ctx);
    void *short_ctx;
    struct table subs;
    uv_timer_t timer;
    struct backoff backoff;
    unsigned silent_ticks; /* watchdog ticks without an answer or message while one is expected */
    bool was_up;           /* it was up since the last loss */
    uv_timer_t pulse;      /* runs while commands are under way, if on_stall is set */
    unsigned pulse_ms;
    unsigned silent_pulses; /* pulses since the last answer; in a probe, counted by its asker */
    bool stalled;           /* on_stall was called, and no answer has come since */
    struct redis *probe;
    void (*on_stall)(void *ctx);
    void *stall_ctx;
    unsigned timers; /* timers that are not closed yet */
};

static void redis_become(struct redis *redis, enum redis_state next)
{
    static const unsigned from[] = {
        [REDIS_WAITING] = 1u << REDIS_CONNECTING | 1u << REDIS_GREETING | 1u << REDIS_UP,
        [REDIS_CONNECTING] = 1u << REDIS_WAITING,
        [REDIS_GREETING] = 1u << REDIS_CONNECTING,
        [REDIS_UP] = 1u << REDIS_GREETING,
        [REDIS_CLOSED] = 1u << REDIS_WAITING | 1u << REDIS_CONNECTING | 1u << REDIS_GREETING | 1u << REDIS_UP,
    };
    if ((from[next] & 1u << redis->state) == 0)
        abort();
    redis->state = next;
}

static void connect_now(struct redis *redis);

/* ---- losing and waiting ---------------------------------------------------------------------------- */

static void on_backoff(uv_timer_t *timer)
{
    connect_now(timer->data);
}

static void close_socket(struct redis *redis)
{
    if (redis->lookup) {
        redis->lookup->data = NULL; /* its result is ignored */
        uv_cancel((uv_req_t *)redis->lookup);
        redis->lookup = NULL;
    }
    if (redis->poll)
        loop_close(redis->poll);
    redis->poll = NULL;
    redis_stream_close(&redis->stream);
    if (redis->reader)
        redisReaderFree(redis->reader);
    redis->reader = NULL;
    redis_out_clear(&redis->out);
}

static void fail_calls(struct redis *redis)
{
    while (redis->calls.count)
        redis_calls_deliver(&redis->calls, NULL);
}

static void fail_subs(struct redis *redis)
{
    struct table lost = redis->subs;
    redis->subs = TABLE_INIT; /* callbacks must not find the subscriptions that are lost */
    for (size_t i = 0; i < lost.size; i++) {
        for (struct table_node *node = lost.buckets[i], *next; node; node = next) {
            struct sub *sub = container_of(node, struct sub, node);
            next = node->next;
            if (sub->fn)
                sub->fn(sub->ctx, NULL);
            free(sub);
        }
    }
    table_free(&lost);
}

/* Backs off once per round of the addresses. Returns the time in ms until the next attempt. */
static unsigned next_place(struct redis *redis)
{
    unsigned count = redis->url.place_count ? redis->url.place_count : 1;
    if (redis->url.sentinel)
        return backoff_failed(&redis->backoff, &backoff_connection);
    redis->place = (redis->place + 1) % count;
    return redis->place ? NEXT_PLACE_MS : backoff_failed(&redis->backoff, &backoff_connection);
}

/* Handles a lost connection or a failed attempt: answers all calls with NULL and sets the next attempt. */
static void disconnect(struct redis *redis, const char *reason)
{
    char text[160]; /* a copy: `reason` may be in memory that is freed here */
    snprintf(text, sizeof text, "%s", reason[0] ? reason : "connection lost");
    redis_become(redis, REDIS_WAITING); /* so that callbacks that get NULL cannot issue commands */
    close_socket(redis);
    fail_calls(redis);
    fail_subs(redis);
    if (redis->state == REDIS_CLOSED) /* a callback has freed it */
        return;
    if (redis->was_up)
        metric_add(METRIC_REDIS_RECONNECTS, 1);
    redis->was_up = redis->stalled = false;
    uv_timer_start(&redis->timer, on_backoff, next_place(redis), 0);
    if (redis->hooks.on_down)
        redis->hooks.on_down(redis->hooks.ctx, text);
}

/* ---- commands -------------------------------------------------------------------------------------- */

/* Returns the pulses since the probe sent a PING that was not answered; one that cannot send counts as not
 * answered. */
static unsigned ask_probe(struct redis *probe)
{
    probe->silent_pulses++;
    if (probe->state == REDIS_UP && probe->calls.count == 0) {
        redis_probe(probe);
        probe->silent_pulses = 1;
    }
    return probe->silent_pulses;
}

/* Counts pulses instead of measuring time, as the watchdog does: while this process is busy, replies wait
 * unread, but they are read between two pulses. */
static void on_pulse(uv_timer_t *timer)
{
    struct redis *redis = timer->data;
    unsigned silent = ++redis->silent_pulses;
    if (redis->calls.count == 0) {
        uv_timer_stop(timer);
        return;
    }
    if (redis->probe)
        silent = ask_probe(redis->probe) < silent ? redis->probe->silent_pulses : silent;
    if (silent < STALL_PULSES || redis->stalled || redis->state != REDIS_UP)
        return;
    redis->stalled = true;
    redis->on_stall(redis->stall_ctx);
}

static void begin_waiting(struct redis *redis)
{
    redis->silent_ticks = redis->silent_pulses = 0;
    if (redis->on_stall && !uv_is_active((uv_handle_t *)&redis->pulse))
        uv_timer_start(&redis->pulse, on_pulse, redis->pulse_ms, redis->pulse_ms);
}

static void issue(struct redis *redis, redis_reply_fn *fn, void *ctx, int argc, const char *const *argv,
                  const size_t *lengths)
{
    redis_out_command(&redis->out, argc, argv, lengths, fn != NULL);
    if (redis->calls.count == 0)
        begin_waiting(redis);
    redis_calls_add(&redis->calls, fn, ctx, redis->out.taken);
}

void redis_call(struct redis *redis, redis_reply_fn *fn, void *ctx, int argc, const char *const *argv,
                const size_t *lengths)
{
    if (redis->state == REDIS_UP)
        issue(redis, fn, ctx, argc, argv, lengths);
    else if (fn)
        fn(ctx, NULL);
    redis->unconfirmed = redis->replicas > 0;
}

/* ---- subscriptions --------------------------------------------------------------------------------- */

static struct sub *find_sub(const struct redis *redis, struct span channel)
{
    struct table_node *node = table_find(&redis->subs, channel);
    return node ? container_of(node, struct sub, node) : NULL;
}

/* Sends SUBSCRIBE or UNSUBSCRIBE. Its confirmation is a message and not an answer, so it is not a call. */
static void send_verb(struct redis *redis, const char *verb, struct span channel)
{
    redis_out_command(&redis->out, 2, (const char *[]){verb, channel.p}, (size_t[]){strlen(verb), channel.n},
                      false);
}

void redis_subscribe(struct redis *redis, redis_reply_fn *fn, void *ctx, struct span channel)
{
    if (redis->state != REDIS_UP) {
        fn(ctx, NULL);
        return;
    }
    struct sub *sub = find_sub(redis, channel);
    if (sub == NULL)
        sub = table_new(&redis->subs, sizeof *sub, channel);
    sub->fn = fn;
    sub->ctx = ctx;
    send_verb(redis, "SUBSCRIBE", channel);
}

void redis_unsubscribe(struct redis *redis, struct span channel)
{
    struct sub *sub = find_sub(redis, channel);
    if (sub == NULL || sub->fn == NULL)
        return;
    sub->fn = NULL;
    sub->leaving++;
    send_verb(redis, "UNSUBSCRIBE", channel);
}

/* Whether the reply is a message. On a connection with subscriptions Redis accepts only PING, whose answer
 * has two elements. */
static bool is_message(const struct redis *redis, const redisReply *reply)
{
    return redis->subs.count && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
           reply->element[0]->type == REDIS_REPLY_STRING && reply->element[1]->type == REDIS_REPLY_STRING;
}

static void take_message(struct redis *redis, const redisReply *reply)
{
    const redisReply *channel = reply->element[1];
    struct sub *sub = find_sub(redis, (struct span){channel->str, (size_t)channel->len});
    redis->silent_ticks = 0;
    if (sub == NULL)
        return;
    if (strcmp(reply->element[0]->str, "unsubscribe") == 0) {
        if (--sub->leaving == 0 && sub->fn == NULL) {
            table_remove(&redis->subs, &sub->node);
            free(sub);
        }
    } else if (sub->fn) {
        sub->fn(sub->ctx, reply);
    }
}

/* ---- reading --------------------------------------------------------------------------------------- */

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

/* Reads into the parser's own buffer, which saves a copy. As read(2). */
static ssize_t fill(redisReader *reader, struct redis_stream *stream)
{
    if (reader->len == 0 && sdsavail(reader->buf) > KEPT_BYTES) {
        sdsfree(reader->buf);
        reader->buf = sdsempty();
        reader->pos = 0;
    }
    char *buf = sdsMakeRoomFor(reader->buf, READ_BYTES);
    if (buf == NULL)
        abort();
    reader->buf = buf;
    ssize_t n = stream->read(stream, buf + reader->len, READ_BYTES);
    if (n > 0) {
        sdsIncrLen(buf, (int)n);
        reader->len += (size_t)n;
    }
    return n;
}

/* Drops the connection on a reply that answers nothing: Redis sends one when it refuses a connection. A reply
 * to a command that was not fully written would release its lent words too early. */
static void take_unasked(struct redis *redis, const redisReply *reply)
{
    bool error = reply->type == REDIS_REPLY_ERROR;
    if (error)
        redis_refused(reply->str);
    disconnect(redis, error ? reply->str : "an answer to nothing");
}

/* ---- replicas ---- */

/* Marks the WAIT among the calls. */
static void on_waited(void *ctx, const redisReply *reply)
{
    (void)ctx;
    (void)reply;
}

/* Evaluates the answer of WAIT (how many replicas have the writes): delivers the kept answers of the commands
 * before it. */
static void on_wait_answer(struct redis *redis, const redisReply *reply)
{
    const uv_poll_t *poll = redis->poll;
    bool enough = reply->type == REDIS_REPLY_INTEGER && reply->integer >= redis->replicas;
    if (!enough) {
        redis_refused(FELL_SHORT);
        redis->fell_short(redis->short_ctx);
    }
    while (redis->poll == poll && redis->calls.kept) {
        if (enough)
            redis_calls_deliver_kept(&redis->calls);
        else
            redis_calls_deliver(&redis->calls, NULL);
    }
    if (redis->poll == poll)
        redis_calls_deliver(&redis->calls, reply);
}

/* Keeps the answer until replicas have the write; false if it is the answer of WAIT itself. */
static bool keep_answer(struct redis *redis, const struct redis_call *call, redisReply *reply)
{
    if (call->fn == on_waited) {
        on_wait_answer(redis, reply);
        return false;
    }
    redis_calls_keep(&redis->calls, reply);
    return true;
}

/* Not inlined into flush(), which runs every turn for each connection and then needs no stack frame for
 * this. */
__attribute__((noinline)) static void ask_replicas(struct redis *redis)
{
    issue(redis, on_waited, NULL, 3, (const char *[]){"WAIT", redis->wait_for, redis->wait_ms}, NULL);
    redis->unconfirmed = false;
}

void redis_confirm(struct redis *redis, unsigned replicas, unsigned wait_ms, void (*fell_short)(void *ctx),
                   void *ctx)
{
    redis->replicas = replicas;
    snprintf(redis->wait_for, sizeof redis->wait_for, "%u", replicas);
    snprintf(redis->wait_ms, sizeof redis->wait_ms, "%u", wait_ms);
    redis->fell_short = fell_short;
    redis->short_ctx = ctx;
}

/* ---- answers ---- */

/* Dispatches a reply; true if it was kept. */
static bool take_reply(struct redis *redis, redisReply *reply)
{
    if (is_message(redis, reply)) {
        take_message(redis, reply);
        return false;
    }
    const struct redis_call *call = redis_calls_due(&redis->calls);
    if (call == NULL || call->end > redis->out.sent) {
        take_unasked(redis, reply);
        return false;
    }
    redis->silent_ticks = redis->silent_pulses = 0;
    redis->stalled = false;
    if (reply->type == REDIS_REPLY_ERROR)
        redis_refused(reply->str);
    if (redis->replicas && redis->state == REDIS_UP)
        return keep_answer(redis, call, reply);
    redis_calls_deliver(&redis->calls, reply);
    return false;
}

/* A callback may drop or free the connection: then the socket is a different one, or none. */
static void parse(struct redis *redis)
{
    const uv_poll_t *poll = redis->poll;
    void *reply = NULL;
    while (redis->poll == poll) {
        if (redisReaderGetReply(redis->reader, &reply) != REDIS_OK)
            disconnect(redis, redis->reader->errstr);
        else if (reply == NULL)
            break;
        else if (take_reply(redis, reply))
            reply = NULL;
        if (reply)
            freeReplyObject(reply);
    }
    if (redis->poll == poll && redis->reader->len - redis->reader->pos > REPLY_BYTES_MAX)
        disconnect(redis, "answer too large");
}

static void read_now(struct redis *redis)
{
    const uv_poll_t *poll = redis->poll;
    ssize_t n = READ_BYTES;
    for (int i = 0; i < READS_PER_TURN && redis->poll == poll && n == READ_BYTES; i++) {
        n = fill(redis->reader, &redis->stream);
        if (n > 0)
            parse(redis);
        else if (n == 0)
            disconnect(redis, "Server closed the connection");
        else if (errno != EAGAIN && errno != EINTR)
            disconnect(redis, strerror(errno));
    }
}

/* ---- watching and writing -------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch_events(struct redis *redis, int events)
{
    if (events != redis->watched_events)
        uv_poll_start(redis->poll, events, on_poll);
    redis->watched_events = events;
}

static void write_now(struct redis *redis)
{
    int error = redis_out_flush(&redis->out, &redis->stream);
    if (error && error != EAGAIN)
        disconnect(redis, strerror(error));
    else
        watch_events(redis, error ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

static void greet(struct redis *redis);

static void on_decided(struct redis *redis)
{
    int error = redis_stream_outcome(&redis->stream);
    if (error) {
        disconnect(redis, strerror(error));
        return;
    }
    watch_events(redis, UV_READABLE);
    greet(redis);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct redis *redis = poll->data;
    if (status < 0) { /* libuv has stopped watching (refused, reset): a read or write returns the reason */
        events = UV_READABLE | UV_WRITABLE;
        redis->watched_events = 0;
    }
    if (redis->state == REDIS_CONNECTING) {
        on_decided(redis);
        return;
    }
    if (events & UV_READABLE)
        read_now(redis);
    if (redis->poll == poll && events & UV_WRITABLE)
        write_now(redis);
}

/* Sends all that was staged during the turn in one write. */
static void flush(void *ctx)
{
    struct redis *redis = ctx;
    if (redis->unconfirmed && redis->state == REDIS_UP)
        ask_replicas(redis);
    if (!redis_out_empty(&redis->out) && !(redis->watched_events & UV_WRITABLE))
        write_now(redis);
}

/* ---- connecting ------------------------------------------------------------------------------------ */

static void on_deadline(uv_timer_t *timer)
{
    disconnect(timer->data, "no answer while connecting");
}

/* Counts timer ticks instead of time, so that a process that was stopped for a while does not take its own
 * pause for a silent Redis. */
static void on_watch(uv_timer_t *timer)
{
    struct redis *redis = timer->data;
    bool due = redis->calls.count || redis->subs.count;
    if (due && ++redis->silent_ticks > WATCH_TICKS)
        disconnect(redis, "no answer in time");
    else if (due && redis->calls.count == 0 && redis->silent_ticks == ASK_TICKS) {
        redis_probe(redis);
        redis->silent_ticks = ASK_TICKS; /* the PING has reset the count, but the silence goes on */
    }
}

/* ---- roles ---- */

/* Drops the connections that follow this one: those at another address, or all. They reconnect at once if
 * they were waiting. */
static void drop_followers(struct redis *redis, bool all)
{
    for (size_t i = 0; i < FOLLOWERS_MAX; i++) {
        struct redis *follower = redis->followers[i];
        if (follower && follower->state != REDIS_WAITING && (all || follower->place != redis->place))
            disconnect(follower, ANOTHER);
        if (follower && follower->state == REDIS_WAITING && !all)
            uv_timer_start(&follower->timer, on_backoff, 0, 0);
    }
}

/* Leaves a replica, which takes subscriptions but no writes. A user who may not ask for the role is let
 * through; of other errors the first one says why Redis refuses this connection. */
static void on_role(void *ctx, const redisReply *reply)
{
    struct redis *redis = ctx;
    if (reply && reply->type == REDIS_REPLY_ERROR && redis->state == REDIS_GREETING &&
        redis_refusal_of(reply->str) != REDIS_NOPERM)
        disconnect(redis, reply->str);
    if (reply == NULL || reply->type != REDIS_REPLY_STRING ||
        memmem(reply->str, (size_t)reply->len, "\nrole:slave", 11) == NULL)
        return;
    redis_refused(REPLICA);
    disconnect(redis, REPLICA);
    drop_followers(redis, true);
}

static void ask_role(struct redis *redis)
{
    issue(redis, on_role, redis, 2, (const char *[]){"INFO", "replication"}, NULL);
}

void redis_check_role(struct redis *redis)
{
    if (redis->state != REDIS_UP)
        return;
    ask_role(redis);
    if (redis->sentinel)
        sentinel_ask(redis->sentinel, false);
}

void redis_leave(struct redis *redis, const char *reason)
{
    if (redis->state != REDIS_WAITING)
        disconnect(redis, reason);
}

void redis_follow(struct redis *redis, struct redis *leader)
{
    redis->leader = leader;
    sentinel_free(&redis->sentinel);
    for (size_t i = 0; i < FOLLOWERS_MAX; i++) {
        if (leader->followers[i] == NULL) {
            leader->followers[i] = redis;
            return;
        }
    }
    abort();
}

/* Separates leader and followers before one of them is freed. */
static void unlink_followers(struct redis *redis)
{
    for (size_t i = 0; i < FOLLOWERS_MAX; i++) {
        if (redis->followers[i])
            redis->followers[i]->leader = NULL;
        if (redis->leader && redis->leader->followers[i] == redis)
            redis->leader->followers[i] = NULL;
        redis->followers[i] = NULL;
    }
}

static void on_greeted(void *ctx, const redisReply *reply)
{
    struct redis *redis = ctx;
    if (reply && reply->type == REDIS_REPLY_ERROR)
        disconnect(redis, reply->str);
}

static void on_pong(void *ctx, const redisReply *reply)
{
    struct redis *redis = ctx;
    on_greeted(redis, reply);
    if (reply == NULL || redis->state != REDIS_GREETING)
        return;
    redis_become(redis, REDIS_UP);
    redis->was_up = true;
    backoff_succeeded(&redis->backoff);
    drop_followers(redis, false);
    redis_out_clear(&redis->out); /* it contained the password */
    uv_timer_stop(&redis->timer);
    if (redis->timeout_ms) {
        unsigned period = redis->timeout_ms / WATCH_TICKS + 1;
        uv_timer_start(&redis->timer, on_watch, period, period);
    }
    if (redis->hooks.on_up)
        redis->hooks.on_up(redis->hooks.ctx);
}

static void greet(struct redis *redis)
{
    const struct redis_url *url = &redis->url;
    redis_become(redis, REDIS_GREETING);
    if (url->password && url->user)
        issue(redis, on_greeted, redis, 3, (const char *[]){"AUTH", url->user, url->password}, NULL);
    else if (url->password)
        issue(redis, on_greeted, redis, 2, (const char *[]){"AUTH", url->password}, NULL);
    if (url->db)
        issue(redis, on_greeted, redis, 2, (const char *[]){"SELECT", LOG_NUM(url->db)}, NULL);
    ask_role(redis);
    issue(redis, on_pong, redis, 1, (const char *[]){"PING"}, NULL);
}

/* Watches the socket that was opened; `error`: the errno if it was not. */
static void watch_socket(struct redis *redis, int error)
{
    uv_poll_t *poll = error ? NULL : xcalloc(1, sizeof *poll);
    if (poll && uv_poll_init(&redis->loop->uv, poll, redis->stream.fd) != 0) {
        free(poll);
        error = EMFILE;
    }
    if (error) {
        disconnect(redis, strerror(error));
        return;
    }
    poll->data = redis;
    redis->poll = poll;
    redis->watched_events = 0;
    redis->reader = redisReaderCreate();
    if (redis->reader == NULL)
        abort();
    guard_replies(redis->reader);
    watch_events(redis, UV_WRITABLE);
}

/* Connects to an address of the name; each attempt takes the next one. */
static void on_found(uv_getaddrinfo_t *lookup, int status, struct addrinfo *list)
{
    struct redis *redis = lookup->data;
    const struct addrinfo *at = list;
    if (redis) {
        redis->lookup = NULL;
        for (unsigned i = redis->backoff.failures; at && i; i--)
            at = at->ai_next ? at->ai_next : list;
        if (at)
            watch_socket(redis, redis_stream_connect(&redis->stream, at->ai_addr, at->ai_addrlen));
        else
            disconnect(redis, status < 0 ? uv_strerror(status) : "no address");
    }
    uv_freeaddrinfo(list);
    free(lookup);
}

/* Looks the name up in a thread of libuv, so that a slow name server does not block the loop. */
static void look_up(struct redis *redis, const struct redis_place *place)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    redis->lookup = xcalloc(1, sizeof *redis->lookup);
    redis->lookup->data = redis;
    int rc =
        uv_getaddrinfo(&redis->loop->uv, redis->lookup, on_found, place->host, LOG_NUM(place->port), &hints);
    if (rc == 0)
        return;
    free(redis->lookup);
    redis->lookup = NULL;
    disconnect(redis, uv_strerror(rc));
}

/* Sets the deadline of an attempt. */
static void set_deadline(struct redis *redis)
{
    bool hurries = redis->timeout_ms && redis->timeout_ms < CONNECT_MS;
    uv_timer_start(&redis->timer, on_deadline, hurries ? redis->timeout_ms : CONNECT_MS, 0);
}

/* ---- Sentinels ---- */

/* Whether the attempt waits for the Sentinels' answer. */
static bool waits_for_sentinel(const struct redis *redis)
{
    return redis->state == REDIS_CONNECTING && redis->lookup == NULL && redis->poll == NULL;
}

static bool is_primary(const struct redis *redis, const char *host, unsigned port)
{
    const struct redis_place *primary = &redis->primary;
    return primary->host && primary->port == port && strcmp(primary->host, host) == 0;
}

/* Connects to the primary that a Sentinel names. Leaves a connection that is up only if the same Sentinel has
 * changed its answer: another Sentinel may not know of a fail-over yet. */
static void on_primary(void *ctx, const char *host, unsigned port, bool moved)
{
    struct redis *redis = ctx;
    bool waits = waits_for_sentinel(redis), same = is_primary(redis, host, port);
    if (!same && (waits || moved)) {
        free(redis->primary.host);
        redis->primary = (struct redis_place){xstrdup(host), port};
        redis->place++;
    }
    if (waits) {
        set_deadline(redis);
        look_up(redis, &redis->primary);
    } else if (moved && !same) {
        redis_leave(redis, ANOTHER);
        drop_followers(redis, true);
    }
}

static void on_trouble(void *ctx, const char *reason)
{
    struct redis *redis = ctx;
    if (waits_for_sentinel(redis))
        disconnect(redis, reason);
}

/* Asks for the primary; asks another Sentinel when the address fails a second time. */
static void ask_sentinel(struct redis *redis)
{
    if (redis->leader && redis->leader->primary.host)
        look_up(redis, &redis->leader->primary);
    else if (redis->sentinel)
        sentinel_ask(redis->sentinel, redis->backoff.failures > 1);
    else
        disconnect(redis, "it is not known where the primary is");
}

/* ---- an attempt ---- */

static void connect_now(struct redis *redis)
{
    redis_become(redis, REDIS_CONNECTING);
    if (redis->leader)
        redis->place = redis->leader->place;
    if (redis->sentinel)
        uv_timer_stop(&redis->timer);
    else
        set_deadline(redis);
    if (redis->url.unix_path)
        watch_socket(redis, redis_stream_connect_path(&redis->stream, redis->url.unix_path));
    else if (redis->url.sentinel)
        ask_sentinel(redis);
    else
        look_up(redis, &redis->url.places[redis->place]);
}

/* ---- life ------------------------------------------------------------------------------------------ */

struct redis *redis_new(struct loop *loop, const struct redis_url *url, unsigned timeout_ms,
                        struct redis_hooks hooks)
{
    struct redis *redis = xcalloc(1, sizeof *redis);
    redis->loop = loop;
    redis->timeout_ms = timeout_ms;
    redis->hooks = hooks;
    redis->url = redis_url_copy(url);
    redis->stream = REDIS_STREAM_CLOSED;
    uv_timer_init(&loop->uv, &redis->timer);
    uv_timer_init(&loop->uv, &redis->pulse);
    redis->timer.data = redis->pulse.data = redis;
    redis->timers = 2;
    loop_hook(loop, LOOP_STAGE_REDIS, flush, redis);
    uv_timer_start(&redis->timer, on_backoff, 0, 0);
    if (url->sentinel)
        redis->sentinel = sentinel_new(loop, url, (struct sentinel_hooks){on_primary, on_trouble, redis});
    return redis;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct redis *redis = handle->data;
    if (--redis->timers)
        return;
    redis_out_free(&redis->out);
    redis_calls_free(&redis->calls);
    redis_url_free(&redis->url);
    free(redis->primary.host);
    free(redis);
}

void redis_free(struct redis **redis_at)
{
    struct redis *redis = *redis_at;
    if (redis == NULL)
        return;
    *redis_at = NULL;
    loop_unhook(redis->loop, LOOP_STAGE_REDIS, flush, redis);
    unlink_followers(redis);
    sentinel_free(&redis->sentinel);
    redis_become(redis, REDIS_CLOSED);
    close_socket(redis);
    fail_calls(redis);
    fail_subs(redis);
    table_free(&redis->subs);
    uv_close((uv_handle_t *)&redis->timer, on_timer_closed);
    uv_close((uv_handle_t *)&redis->pulse, on_timer_closed);
}

bool redis_is_up(const struct redis *redis)
{
    return redis && redis->state == REDIS_UP;
}

size_t redis_in_flight(const struct redis *redis)
{
    return redis->calls.count;
}

void redis_on_stall(struct redis *redis, struct redis *probe, unsigned silence_ms, void (*fn)(void *ctx),
                    void *ctx)
{
    redis->probe = probe;
    redis->pulse_ms = silence_ms / PULSES;
    redis->on_stall = fn;
    redis->stall_ctx = ctx;
}

bool redis_is_stalled(const struct redis *redis)
{
    return redis->state == REDIS_UP && redis->stalled;
}

void redis_probe(struct redis *redis)
{
    if (redis->calls.count == 0)
        redis_callv(redis, NULL, NULL, "PING", NULL);
}
