/* SPDX-License-Identifier: MIT */
/* The function library in Redis, tasks/queue/lua: whether it is there, loading it, dropping what nobody uses;
 * see queue.h. Loop thread only. */
#include "hub/base/log.h"
#include "hub/config/embed.h"
#include "tasks/queue/client_private.h"

#define LIBRARIES "taskhub_"
#define LIBRARY "taskhub_1" /* the number of FUNCTION() */
#define LIBRARIES_MAX 16

struct load {
    struct queue *queue;
    queue_ready_fn *fn;
    void *ctx;
    char older[LIBRARIES_MAX][24]; /* the other libraries, those of a lower number */
    size_t count;
};

static void loaded(struct load *load, enum queue_code code, const char *reason)
{
    struct queue *queue = load->queue;
    queue->loading = false;
    queue->pending--;
    if (load->fn && !queue->closed)
        load->fn(load->ctx, code, reason);
    else if (code != QUEUE_OK)
        log_warn("the function library cannot be loaded", "reason", reason);
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

/* Drops the libraries of a lower number that no process used for a day; `answer`: format, readable, numbers.
 */
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

static void on_joined(struct op *op, const redisReply *answer)
{
    struct load *load = op->ctx;
    char reason[128];
    if (answer && reply_number(answer, 1)) {
        drop_unused(load, answer);
        loaded(load, QUEUE_OK, "");
        return;
    }
    snprintf(reason, sizeof reason, "its data has format %lld, which this version cannot read",
             (long long)reply_number(answer, 0));
    if (answer)
        loaded(load, QUEUE_STATE, reason);
    else if (op->queue->refusal != REDIS_TAKES)
        loaded(load, QUEUE_UNAVAILABLE, redis_refusal_text(op->queue->refusal));
    else
        loaded(load, QUEUE_UNAVAILABLE, "the connection was lost");
}

static void drop_load(struct op *op)
{
    loaded(op->ctx, QUEUE_UNAVAILABLE, "the connection was lost");
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

/* Takes one library of the answer of FUNCTION LIST … WITHCODE: {name, value, …}. Whether it is ours, with
 * this very text; one of a lower number is noted. */
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
    load->queue = queue;
    load->fn = fn;
    load->ctx = ctx;
    queue->loading = true;
    queue->pending++;
    redis_callv(queue->redis, on_listed, load, "FUNCTION", "LIST", "LIBRARYNAME", LIBRARIES "*", "WITHCODE",
                NULL);
}
