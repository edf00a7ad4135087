/* The services for running tasks; see services.h. */
#include "tasks/queue/services.h"

#include "tasks/queue/client_private.h"

struct wait { /* a call on its way to Redis: who gets the answer */
    service_reply_fn *fn;
    void *ctx;
};

static struct wait *wait_new(service_reply_fn *fn, void *ctx)
{
    struct wait *wait = xmalloc(sizeof *wait);
    *wait = (struct wait){fn, ctx};
    return wait;
}

static void drop_wait(struct op *op)
{
    free(op->more);
}

/* A function call whose `done` answers by reply(). */
static struct op *call_new(struct queue *queue, const char *function, service_reply_fn *fn, void *ctx,
                           void (*done)(struct op *op, const redisReply *answer))
{
    struct op *op = op_new(queue, function, done);
    op->more = wait_new(fn, ctx);
    op->drop = drop_wait;
    return op;
}

/* Gives the answer away. */
static void reply(struct op *op, json_t *answer)
{
    struct wait wait = *(struct wait *)op->more;
    free(op->more);
    wait.fn(wait.ctx, answer);
}

static struct span text_of(const json_t *args, const char *name)
{
    const json_t *value = json_object_get(args, name);
    return (struct span){json_string_value(value), json_string_length(value)};
}

/* ---- notify: send_notification ------------------------------------------------------------------- */

static void on_notified(void *ctx, enum queue_code code)
{
    struct wait wait = *(struct wait *)ctx;
    free(ctx);
    wait.fn(wait.ctx, code == QUEUE_OK ? json_object() : NULL);
}

/* args: the params of the notification; "user_id" says whose log it goes to. */
static void notify(struct queue *queue, const char *owner, const json_t *args, service_reply_fn *fn,
                   void *ctx)
{
    struct span user = text_of(args, "user_id"), id = text_of(args, "id");
    (void)owner; /* who may notify whom was checked when the task was submitted */
    char *body = json_dumps(args, JSON_COMPACT);
    if (user.p == NULL || id.p == NULL || body == NULL)
        fn(ctx, NULL);
    else
        queue_notify(queue, user.p, id.p, span_of(body), on_notified, wait_new(fn, ctx));
    free(body);
}

/* ---- impressions: sync_impressions_from_redis ------------------------------------------------------ */

/* {id, counters left, field, count, …} */
static void on_taken(struct op *op, const redisReply *answer)
{
    if (reply_count(answer) < 2) {
        reply(op, NULL);
        return;
    }
    json_t *batch = json_object(), *counts = json_object();
    for (size_t i = 2; i + 1 < answer->elements; i += 2)
        json_object_set_new(counts, reply_text(answer, i), json_integer(reply_number(answer, i + 1)));
    json_object_set_new(batch, "id", json_string(reply_text(answer, 0)));
    json_object_set_new(batch, "left", json_integer(reply_number(answer, 1)));
    json_object_set_new(batch, "counts", counts);
    reply(op, batch);
}

static void impressions_take(struct queue *queue, const char *owner, const json_t *args, service_reply_fn *fn,
                             void *ctx)
{
    (void)owner;
    struct op *op = call_new(queue, FUNCTION("impressions_take"), fn, ctx, on_taken);
    words_add(&op->words, text_of(args, "id"));
}

static void on_dropped(struct op *op, const redisReply *answer)
{
    reply(op, answer ? json_object() : NULL);
}

static void impressions_drop(struct queue *queue, const char *owner, const json_t *args, service_reply_fn *fn,
                             void *ctx)
{
    (void)owner;
    struct op *op = call_new(queue, FUNCTION("impressions_drop"), fn, ctx, on_dropped);
    words_add(&op->words, text_of(args, "id"));
}

/* ---- cleanup: cleanup_sessions ---------------------------------------------------------------------- */

/* {next cursor, sessions, audio streams, tasks} */
static void on_cleaned(struct op *op, const redisReply *answer)
{
    static const char *const kinds[] = {"sessions", "audio_streams", "tasks"};
    if (reply_count(answer) != 1 + NELEMS(kinds)) {
        reply(op, NULL);
        return;
    }
    json_t *step = json_object(), *removed = json_object();
    for (size_t i = 0; i < NELEMS(kinds); i++)
        json_object_set_new(removed, kinds[i], json_integer(reply_number(answer, 1 + i)));
    json_object_set_new(step, "cursor", json_string(reply_text(answer, 0)));
    json_object_set_new(step, "removed", removed);
    reply(op, step);
}

static void cleanup(struct queue *queue, const char *owner, const json_t *args, service_reply_fn *fn,
                    void *ctx)
{
    (void)owner;
    struct op *op = call_new(queue, FUNCTION("cleanup"), fn, ctx, on_cleaned);
    words_add(&op->words, text_of(args, "cursor"));
    words_signed(&op->words, json_integer_value(json_object_get(args, "older_than_s")));
    words_signed(&op->words, json_integer_value(json_object_get(args, "retention_s")));
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
