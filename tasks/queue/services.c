/* SPDX-License-Identifier: MIT */
/* The services for running tasks; see services.h. Loop thread; no state. Never checks who may call:
 * service_find() does. */
#include "tasks/queue/services.h"

#include "hub/json/json.h"
#include "hub/json/json_write.h"
#include "tasks/queue/client_private.h"

static void on_answer(struct op *op, const redisReply *answer)
{
    struct buf json CLEANUP(buf_free) = BUF_INIT;
    if (answer)
        op->write(&json, answer);
    op->fn.service(op->ctx, json.len ? buf_span(&json) : SPAN_NONE);
}

/* A function call answered with what `write` makes of the reply; nothing written means failed. */
static struct op *call_new(struct queue *queue, const char *function, service_reply_fn *fn, void *ctx,
                           void (*write)(struct buf *to, const redisReply *answer))
{
    struct op *op = op_new(queue, function, on_answer, (union answer_fn){.service = fn}, ctx);
    op->write = write;
    return op;
}

static void add_text(struct op *op, struct span args, const char *name)
{
    struct buf text CLEANUP(buf_free) = BUF_INIT;
    struct span value = json_get(args, name);
    if (json_kind_of(value) == KIND_STRING)
        json_string_append(&text, value);
    words_add(&op->words, buf_span(&text));
}

static void add_number(struct op *op, struct span args, const char *name)
{
    int64_t number = 0;
    if (!json_int(json_get(args, name), &number))
        number = 0;
    words_signed(&op->words, number);
}

static void write_nothing(struct buf *to, const redisReply *answer)
{
    (void)answer;
    buf_append_text(to, "{}");
}

static void write_notified(struct buf *to, const redisReply *answer)
{
    if (answer->integer == QUEUE_OK)
        write_nothing(to, answer);
}

/* args: the params of the notification; "user_id" names the owner of the log it goes to. Whether the
 * sender may notify that user was checked at submission. */
static void notify(struct queue *queue, struct span args, service_reply_fn *fn, void *ctx)
{
    char owner[OWNER_SIZE];
    if (!owner_of_json(json_get(args, "user_id"), owner) ||
        json_kind_of(json_get(args, "id")) != KIND_STRING) {
        fn(ctx, SPAN_NONE);
        return;
    }
    struct op *op = call_new(queue, FUNCTION("notify"), fn, ctx, write_notified);
    words_add(&op->words, span_of(owner));
    add_text(op, args, "id");
    words_json(&op->words, args);
}

/* {id, counters left, field, count, …} */
static void write_taken(struct buf *to, const redisReply *answer)
{
    if (reply_count(answer) < 2)
        return;
    buf_append_char(to, '{');
    json_member_text(to, "id", reply_span(answer, 0));
    json_member_int(to, "left", reply_number(answer, 1));
    json_member(to, "counts");
    for (size_t i = 2; i + 1 < answer->elements; i += 2) {
        buf_append_char(to, i > 2 ? ',' : '{');
        buf_append_json(to, reply_span(answer, i));
        buf_printf(to, ":%lld", (long long)reply_number(answer, i + 1));
    }
    buf_append_text(to, reply_count(answer) < 4 ? "{}}" : "}}");
}

static void impressions_take(struct queue *queue, struct span args, service_reply_fn *fn, void *ctx)
{
    add_text(call_new(queue, FUNCTION("impressions_take"), fn, ctx, write_taken), args, "id");
}

static void impressions_drop(struct queue *queue, struct span args, service_reply_fn *fn, void *ctx)
{
    add_text(call_new(queue, FUNCTION("impressions_drop"), fn, ctx, write_nothing), args, "id");
}

/* {next cursor, sessions, audio streams, tasks} */
static void write_cleaned(struct buf *to, const redisReply *answer)
{
    static const char *const kinds[] = {"sessions", "audio_streams", "tasks"};
    if (reply_count(answer) != 1 + NELEMS(kinds))
        return;
    buf_append_char(to, '{');
    json_member_text(to, "cursor", reply_span(answer, 0));
    json_member(to, "removed");
    buf_append_char(to, '{');
    for (size_t i = 0; i < NELEMS(kinds); i++)
        json_member_int(to, kinds[i], reply_number(answer, 1 + i));
    buf_append_text(to, "}}");
}

static void cleanup(struct queue *queue, struct span args, service_reply_fn *fn, void *ctx)
{
    struct op *op = call_new(queue, FUNCTION("cleanup"), fn, ctx, write_cleaned);
    add_text(op, args, "cursor");
    add_number(op, args, "older_than_s");
    add_number(op, args, "retention_s");
}

static const struct service services[] = {
    {"notify", "send_notification", notify},
    {"impressions_take", "sync_impressions_from_redis", impressions_take},
    {"impressions_drop", "sync_impressions_from_redis", impressions_drop},
    {"cleanup", "cleanup_sessions", cleanup},
};

const struct service *service_find(const char *name, const char *task)
{
    for (size_t i = 0; i < NELEMS(services); i++)
        if (strcmp(services[i].name, name) == 0 && strcmp(services[i].task, task) == 0)
            return &services[i];
    return NULL;
}
