/* SPDX-License-Identifier: MIT */
/* The function library in Redis (tasks/queue/lua): checks it, loads it, drops unused versions; and claims
 * the name of this process; see queue.h. Loop thread only. */
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/embed.h"
#include "tasks/queue/client_private.h"

#define LIBRARIES "taskhub_"
#define LIBRARY "taskhub_2" /* the number in FUNCTION() */
#define LIBRARIES_MAX 16
#define WARN_EVERY_MS 10000
#define ASK_MS 500 /* the longest time between two attempts to claim a name */

struct load {
    struct queue *queue;
    queue_ready_fn *fn;
    void *ctx;
    char older[LIBRARIES_MAX][24]; /* other libraries with a lower number */
    size_t count;
    uv_timer_t *timer;  /* runs while it waits for the name */
    char beaten_at[24]; /* first known beat of another process of this name; "" = none */
};

/* Warns only: nobody waits for the library, and each call that misses it loads it again. */
static void warn_not_loaded(struct queue *queue, const char *reason)
{
    uint64_t now = clock_mono_ms();
    if (queue->warned_ms && now - queue->warned_ms < WARN_EVERY_MS)
        return;
    queue->warned_ms = now;
    log_warn("the function library cannot be loaded", "reason", reason);
}

static void loaded(struct load *load, enum queue_code code, const char *reason)
{
    struct queue *queue = load->queue;
    queue->loading = false;
    queue->pending--;
    if (code == QUEUE_LOST && !queue->closed && queue->hooks.on_name_taken)
        queue->hooks.on_name_taken(queue->hooks.ctx, reason);
    else if (load->fn && !queue->closed)
        load->fn(load->ctx, code, reason);
    else if (code != QUEUE_OK)
        warn_not_loaded(queue, reason);
    free(load);
    queue_maybe_free(queue);
}

static const char *why_refused(const redisReply *reply)
{
    if (reply == NULL)
        return "the connection was lost";
    if (strncasecmp(reply->str, "ERR unknown command", 19) == 0)
        return "Redis 7.0 or later is needed";
    return redis_refusal_text(redis_refusal_of(reply->str));
}

static long number_of(const char *library)
{
    return strncmp(library, LIBRARIES, strlen(LIBRARIES)) == 0 ? strtol(library + strlen(LIBRARIES), NULL, 10)
                                                               : 0;
}

/* Drops the older libraries that no process used for a day; `answer`: format, readable, numbers. */
static void drop_unused(struct load *load, const redisReply *answer)
{
    for (size_t i = 0; i < load->count; i++) {
        bool used = false;
        for (size_t k = 2; k < reply_count(answer); k++)
            used |= reply_number(answer, k) == number_of(load->older[i]);
        if (!used)
            redis_callv(load->queue->redis, NULL, NULL, "FUNCTION", "DELETE", load->older[i], NULL);
    }
}

/* ---- the name ---- */

static void become_name(struct queue *queue, const char *name)
{
    char *origin = queue->origin, *holder = queue->holder;
    if (strcmp(name, origin) == 0)
        return;
    log_info("another process has the name; this one takes the next", "taken", origin + 2, "name", name + 2);
    queue->origin = xstrdup(name);
    queue->config.origin = queue->origin + 2;
    queue->holder = NULL;
    queue_set_holder(queue);
    if (queue->renamed)
        queue->renamed(queue, holder);
    free(origin);
    free(holder);
}

/* `numbers`: as is every name made of it by a number. */
static void name_taken(struct load *load, bool numbers)
{
    const char *kind = load->queue->config.hub ? "hub" : "worker", *name = queue_name(load->queue);
    char reason[256];
    if (numbers)
        snprintf(reason, sizeof reason,
                 "%ss with all names from %s to %s-1000 live; give this one a %s.name, or stop some of those",
                 kind, name, name, kind);
    else
        snprintf(reason, sizeof reason,
                 "another %s is called %s, and lives; give this one another %s.name, or stop that one", kind,
                 name, kind);
    loaded(load, QUEUE_LOST, reason);
}

static void claim(struct load *load);

static void on_asked_again(uv_timer_t *timer)
{
    struct load *load = timer->data;
    load->queue->waiting = NULL;
    loop_close(timer);
    if (redis_is_up(load->queue->redis))
        claim(load);
    else
        loaded(load, QUEUE_UNAVAILABLE, "the connection was lost");
}

/* `answer`: {"", ms to wait, last beat of the other process} */
static void wait_for_name(struct load *load, const redisReply *answer)
{
    struct queue *queue = load->queue;
    uint64_t wait_ms = (uint64_t)reply_number(answer, 1);
    if (load->beaten_at[0] == '\0') {
        log_info("waits to know whether another process with its name lives", "name", queue_name(queue));
        snprintf(load->beaten_at, sizeof load->beaten_at, "%s", reply_text(answer, 2));
    }
    load->timer = loop_timer(queue->loop, load);
    queue->waiting = load;
    uv_timer_start(load->timer, on_asked_again, wait_ms < ASK_MS ? wait_ms : ASK_MS, 0);
}

static const char *why_not(const struct queue *queue)
{
    if (queue->refusal == REDIS_TAKES)
        return "the connection was lost";
    return redis_refusal_text(queue->refusal);
}

static void on_claimed(struct op *op, const redisReply *answer)
{
    struct load *load = op->ctx;
    const char *name = reply_text(answer, 0);
    if (*name) {
        become_name(op->queue, name);
        loaded(load, QUEUE_OK, "");
    } else if (answer == NULL) {
        loaded(load, QUEUE_UNAVAILABLE, why_not(op->queue));
    } else if (reply_number(answer, 1) < 0) {
        name_taken(load, reply_number(answer, 1) < -1);
    } else {
        wait_for_name(load, answer);
    }
}

static void drop_load(struct op *op)
{
    loaded(op->ctx, QUEUE_UNAVAILABLE, "the connection was lost");
}

static void claim(struct load *load)
{
    struct queue *queue = load->queue;
    struct op *op = op_new(queue, FUNCTION("claim"), on_claimed, NOBODY, load);
    char *worker CLEANUP(free_char) = NULL;
    op->drop = drop_load;
    words_number(&op->words, queue->config.lease_ms);
    words_text(&op->words, queue->config.numbered ? "1" : "0");
    words_text(&op->words, load->beaten_at);
    if (queue->config.private_worker == NULL)
        return;
    worker = xasprintf("w:%s", queue->config.private_worker);
    words_text(&op->words, queue->origin);
    words_text(&op->words, worker);
}

void queue_drop_waiting(struct queue *queue)
{
    struct load *load = queue->waiting;
    if (load == NULL)
        return;
    queue->waiting = NULL;
    queue->loading = false;
    queue->pending--;
    loop_close(load->timer);
    free(load);
}

static void on_left(struct op *op, const redisReply *answer)
{
    op->fn.done(op->ctx, answer ? QUEUE_OK : QUEUE_UNAVAILABLE);
}

void queue_leave(struct queue *queue, queue_done_fn *fn, void *ctx)
{
    op_new(queue, FUNCTION("leave"), on_left, (union answer_fn){.done = fn}, ctx);
}

/* ---- beginning ---- */

static void on_joined(struct op *op, const redisReply *answer)
{
    struct load *load = op->ctx;
    char reason[128];
    if (answer && reply_number(answer, 1)) {
        drop_unused(load, answer);
        claim(load);
        return;
    }
    snprintf(reason, sizeof reason, "its data has format %lld, which this version cannot read",
             (long long)reply_number(answer, 0));
    if (answer)
        loaded(load, QUEUE_STATE, reason);
    else
        loaded(load, QUEUE_UNAVAILABLE, why_not(op->queue));
}

static void join(struct load *load)
{
    op_new(load->queue, FUNCTION("join"), on_joined, NOBODY, load)->drop = drop_load;
}

static void on_library(void *ctx, const redisReply *reply)
{
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        loaded(ctx, QUEUE_UNAVAILABLE, why_refused(reply));
    else
        join(ctx);
}

/* Reads one library of the answer of FUNCTION LIST … WITHCODE: {name, value, …}. True if it is ours with
 * exactly this text; notes it if its number is lower. */
static bool note_library(struct load *load, const redisReply *library, struct span code)
{
    const char *name = "";
    bool same = false;
    for (size_t i = 0; i + 1 < reply_count(library); i += 2) {
        if (strcmp(reply_text(library, i), "library_name") == 0)
            name = reply_text(library, i + 1);
        if (strcmp(reply_text(library, i), "library_code") == 0)
            same = span_equal(reply_span(library, i + 1), code);
    }
    if (number_of(name) > 0 && number_of(name) < number_of(LIBRARY) && load->count < LIBRARIES_MAX)
        snprintf(load->older[load->count++], sizeof load->older[0], "%s", name);
    return same && strcmp(name, LIBRARY) == 0;
}

static void on_listed(void *ctx, const redisReply *reply)
{
    struct load *load = ctx;
    const struct embed *file = embed_find(SPAN("queue.lua"));
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR || file == NULL) {
        loaded(load, QUEUE_UNAVAILABLE, file ? why_refused(reply) : "the library is not in this build");
        return;
    }
    bool there = false;
    for (size_t i = 0; i < reply_count(reply); i++)
        there |= note_library(load, reply_array(reply, i), file->data);
    const char *words[] = {"FUNCTION", "LOAD", "REPLACE", file->data.p};
    if (there)
        join(load);
    else
        redis_call(load->queue->redis, on_library, load, 4, words, (size_t[]){8, 4, 7, file->data.n});
}

void queue_load(struct queue *queue, queue_ready_fn *fn, void *ctx)
{
    struct load *load = xcalloc(1, sizeof *load);
    queue_drop_waiting(queue);
    load->queue = queue;
    load->fn = fn;
    load->ctx = ctx;
    queue->loading = true;
    queue->pending++;
    redis_callv(queue->redis, on_listed, load, "FUNCTION", "LIST", "LIBRARYNAME", LIBRARIES "*", "WITHCODE",
                NULL);
}

void queue_claim_again(struct queue *queue)
{
    if (!queue->loading)
        queue_load(queue, NULL, NULL);
}
