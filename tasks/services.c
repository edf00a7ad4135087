/* The services for running tasks; see services.h. */
#include "tasks/services.h"

#include "tasks/domain_call.h"

#include <inttypes.h>
#include <stdio.h>

struct wait { /* a call on its way to Redis */
    service_reply_fn *fn;
    void *ctx;
};

static struct wait *wait_new(service_reply_fn *fn, void *ctx)
{
    struct wait *wait = xmalloc(sizeof *wait);
    *wait = (struct wait){fn, ctx};
    return wait;
}

/* Gives the answer away and ends the wait. */
static void reply(struct wait *wait, json_t *answer)
{
    struct wait done = *wait;
    free(wait);
    done.fn(done.ctx, answer);
}

static struct span text_of(const json_t *args, const char *name)
{
    const json_t *value = json_object_get(args, name);
    return (struct span){json_string_value(value), json_string_length(value)};
}

/* ---- notify: send_notification ------------------------------------------------------------------- */

static void on_notified(void *ctx, enum queue_code code)
{
    reply(ctx, code == QUEUE_OK ? json_object() : NULL);
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

static bool is_batch(const redisReply *answer)
{
    return answer && answer->type == REDIS_REPLY_ARRAY && answer->elements >= 2 &&
           answer->elements % 2 == 0 && answer->element[0]->type == REDIS_REPLY_STRING;
}

/* {id, counters left, field, count, …} */
static void on_taken(void *ctx, const redisReply *answer)
{
    if (!is_batch(answer)) {
        reply(ctx, NULL);
        return;
    }
    json_t *batch = json_object(), *counts = json_object();
    for (size_t i = 2; i + 1 < answer->elements; i += 2)
        json_object_set_new(counts, answer->element[i]->str,
                            json_integer(strtoll(answer->element[i + 1]->str, NULL, 10)));
    json_object_set_new(batch, "id", json_string(answer->element[0]->str));
    json_object_set_new(batch, "left", json_integer(answer->element[1]->integer));
    json_object_set_new(batch, "counts", counts);
    reply(ctx, batch);
}

static void call_with_id(struct queue *queue, const char *function, const json_t *args, domain_reply_fn *done,
                         struct wait *wait)
{
    const struct span id = text_of(args, "id");
    if (id.p == NULL)
        reply(wait, NULL);
    else
        domain_call(queue, "", function, &id, 1, done, wait);
}

static void impressions_take(struct queue *queue, const char *owner, const json_t *args, service_reply_fn *fn,
                             void *ctx)
{
    (void)owner;
    call_with_id(queue, "th1_impressions_take", args, on_taken, wait_new(fn, ctx));
}

static void on_dropped(void *ctx, const redisReply *answer)
{
    reply(ctx, answer ? json_object() : NULL);
}

static void impressions_drop(struct queue *queue, const char *owner, const json_t *args, service_reply_fn *fn,
                             void *ctx)
{
    (void)owner;
    call_with_id(queue, "th1_impressions_drop", args, on_dropped, wait_new(fn, ctx));
}

/* ---- cleanup: cleanup_sessions ---------------------------------------------------------------------- */

/* {next cursor, sessions, audio streams, tasks} */
static void on_cleaned(void *ctx, const redisReply *answer)
{
    static const char *const kinds[] = {"sessions", "audio_streams", "tasks"};
    if (answer == NULL || answer->type != REDIS_REPLY_ARRAY || answer->elements != 1 + NELEMS(kinds) ||
        answer->element[0]->type != REDIS_REPLY_STRING) {
        reply(ctx, NULL);
        return;
    }
    json_t *step = json_object(), *removed = json_object();
    for (size_t i = 0; i < NELEMS(kinds); i++)
        json_object_set_new(removed, kinds[i], json_integer(answer->element[1 + i]->integer));
    json_object_set_new(step, "cursor", json_string(answer->element[0]->str));
    json_object_set_new(step, "removed", removed);
    reply(ctx, step);
}

static void cleanup(struct queue *queue, const char *owner, const json_t *args, service_reply_fn *fn,
                    void *ctx)
{
    char age[24], retention[24];
    (void)owner;
    snprintf(age, sizeof age, "%" PRId64, (int64_t)json_integer_value(json_object_get(args, "older_than_s")));
    snprintf(retention, sizeof retention, "%" PRId64,
             (int64_t)json_integer_value(json_object_get(args, "retention_s")));
    const struct span words[] = {text_of(args, "cursor"), span_of(age), span_of(retention)};
    if (words[0].p == NULL)
        fn(ctx, NULL);
    else
        domain_call(queue, "", "th1_cleanup", words, NELEMS(words), on_cleaned, wait_new(fn, ctx));
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
