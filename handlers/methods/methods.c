/* SPDX-License-Identifier: MIT */
/* The dispatch table: who may call a method, the shape of its parameters, and what it runs; and what
 * concerns all methods: Redis, events, clients that leave. Loop thread. Never runs a method itself:
 * dispatch() does. */
#include "handlers/methods/methods.h"

#include "handlers/session/revocations.h"
#include "handlers/session/session.h"
#include "handlers/session/snapshots.h"
#include "handlers/session/token_turns.h"
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "hub/json/json_write.h"

#define DAY_MS 86400000
#define TOKEN_READ_MAX 1048576 /* any message: the check of the token reports one that is too long */
#define TASK_ID                                                                                              \
    {                                                                                                        \
        .name = "task_id", .kinds = KIND_STRING, .required = true, .min = 1, .max = 64                       \
    }
#define IDEMPOTENCY_KEY                                                                                      \
    {                                                                                                        \
        .name = "idempotency_key", .kinds = KIND_STRING, .min = 1, .max = 128                                \
    }
#define PARAMS(rows) .params = (rows), .param_count = NELEMS(rows)

static const char *const statuses[] = {"pending", "processing", "completed", "failed", "cancelled", NULL};

static const struct json_field task_submit[] = {
    {.name = "task", .kinds = KIND_STRING, .required = true, .min = 1, .max = 64},
    {.name = "args", .kinds = KIND_OBJECT},
    IDEMPOTENCY_KEY,
    {.name = "priority", .kinds = KIND_INTEGER, .min = 0, .max = 9},
    {.name = "delay_ms", .kinds = KIND_INTEGER, .min = 0, .max = INT64_C(30) * DAY_MS},
    {.name = "expires_ms", .kinds = KIND_INTEGER, .min = 1, .max = INT64_C(30) * DAY_MS},
};
static const struct json_field one_task[] = {TASK_ID};
static const struct json_field task_retry[] = {TASK_ID, IDEMPOTENCY_KEY};
static const struct json_field task_list[] = {
    {.name = "status", .kinds = KIND_STRING, .words = statuses},
    {.name = "task", .kinds = KIND_STRING, .min = 1, .max = 64},
    {.name = "since", .kinds = KIND_STRING, .min = 1, .max = 39},
    {.name = "until", .kinds = KIND_STRING, .min = 1, .max = 39},
    {.name = "cursor", .kinds = KIND_STRING, .min = 1, .max = 256},
    {.name = "limit", .kinds = KIND_INTEGER, .min = 1, .max = 200},
    {.name = "user_id", .kinds = KIND_STRING, .min = 1, .max = USER_ID_MAX}, /* admin.tasks only */
};
static const struct json_field auth[] = {
    {.name = "token", .kinds = KIND_STRING, .min = 1, .max = TOKEN_READ_MAX},
    {.name = "resume", .kinds = KIND_OBJECT},
};
static const struct json_field auth_refresh[] = {
    {.name = "token", .kinds = KIND_STRING, .required = true, .min = 1, .max = TOKEN_READ_MAX},
};
static const struct json_field audio_begin[] = {
    {.name = "task", .kinds = KIND_STRING, .required = true, .min = 1, .max = 64},
    {.name = "args", .kinds = KIND_OBJECT},
    {.name = "format", .kinds = KIND_OBJECT, .required = true},
    IDEMPOTENCY_KEY,
};
static const struct json_field audio_stream[] = {
    {.name = "stream", .kinds = KIND_INTEGER, .required = true, .min = 1, .max = UINT32_MAX},
};
static const struct json_field notification_list[] = {
    {.name = "cursor", .kinds = KIND_STRING, .min = 1, .max = 256},
    {.name = "unread", .kinds = KIND_TRUE},
};
static const struct json_field notification_read[] = {
    {.name = "ids", .kinds = KIND_ARRAY, .required = true, .min = 1, .max = 200},
    IDEMPOTENCY_KEY,
};
static const struct json_field impression[] = {
    {.name = "resource_id", .kinds = KIND_STRING, .required = true, .min = 1, .max = 128},
    {.name = "kind", .kinds = KIND_STRING, .min = 1, .max = 32},
    IDEMPOTENCY_KEY,
};
static const struct json_field rating[] = {
    {.name = "resource_id", .kinds = KIND_STRING, .required = true, .min = 1, .max = 128},
    {.name = "stars", .kinds = KIND_INTEGER, .required = true, .min = 1, .max = 5},
    IDEMPOTENCY_KEY,
};
static const struct json_field admin_revoke[] = {
    {.name = "jti", .kinds = KIND_STRING, .min = 1, .max = AUTH_TOKEN_MAX},
    {.name = "user_id", .kinds = KIND_STRING, .min = 1, .max = USER_ID_MAX},
    {.name = "before", .kinds = KIND_STRING, .min = 1, .max = 39},
};
static const struct json_field watch[] = {
    {.name = "owner", .kinds = KIND_STRING, .min = 1, .max = USER_ID_MAX},
    {.name = "task", .kinds = KIND_STRING, .min = 1, .max = 64},
};

static const struct handler handlers[] = {
    {"task.submit", AUTHENTICATED, IN_BATCH | NEEDS_REDIS, PARAMS(task_submit), run_task_submit},
    {"task.get", AUTHENTICATED, IN_BATCH | NEEDS_REDIS, PARAMS(one_task), run_task_get},
    {"task.list", AUTHENTICATED, IN_BATCH | NEEDS_REDIS, task_list, NELEMS(task_list) - 1, run_task_list},
    {"task.cancel", AUTHENTICATED, IN_BATCH | NEEDS_REDIS, PARAMS(one_task), run_task_cancel},
    {"task.retry", AUTHENTICATED, IN_BATCH | NEEDS_REDIS, PARAMS(task_retry), run_task_retry},
    {"task.why", AUTHENTICATED, IN_BATCH | NEEDS_REDIS, PARAMS(one_task), run_task_why},
    {"auth", ANYONE, NEEDS_CLIENT, PARAMS(auth), run_auth},
    {"auth.refresh", AUTHENTICATED, NEEDS_CLIENT, PARAMS(auth_refresh), run_auth_refresh},
    {"audio.start", AUTHENTICATED, NEEDS_REDIS | NEEDS_CLIENT, PARAMS(audio_begin), run_audio_start},
    {"audio.end", AUTHENTICATED, NEEDS_CLIENT, PARAMS(audio_stream), run_audio_end},
    {"audio.abort", AUTHENTICATED, NEEDS_CLIENT, PARAMS(audio_stream), run_audio_abort},
    {"audio.resume", AUTHENTICATED, NEEDS_REDIS | NEEDS_CLIENT, PARAMS(one_task), run_audio_resume},
    {"notification.list", AUTHENTICATED, IN_BATCH, PARAMS(notification_list), run_notification_list},
    {"notification.read", AUTHENTICATED, IN_BATCH, PARAMS(notification_read), run_notification_read},
    {"impression.record", AUTHENTICATED, IN_BATCH | NEEDS_REDIS, PARAMS(impression), run_impression_record},
    {"rating.submit", AUTHENTICATED, IN_BATCH, PARAMS(rating), run_rating_submit},
    {"ping", AUTHENTICATED, IN_BATCH, NULL, 0, run_ping},
    {"admin.stats", VIEWER, IN_BATCH | NEEDS_REDIS, NULL, 0, run_admin_stats},
    {"admin.tasks", VIEWER, IN_BATCH | NEEDS_REDIS, PARAMS(task_list), run_admin_tasks},
    {"admin.workers", VIEWER, IN_BATCH | NEEDS_REDIS, NULL, 0, run_admin_workers},
    {"admin.revoke", ADMIN, IN_BATCH | NEEDS_REDIS, PARAMS(admin_revoke), run_admin_revoke},
    {"admin.watch", VIEWER, IN_BATCH | NEEDS_REDIS | NEEDS_CLIENT, PARAMS(watch), run_admin_watch},
    {"admin.unwatch", VIEWER, IN_BATCH | NEEDS_CLIENT, NULL, 0, run_admin_unwatch},
};
_Static_assert(NELEMS(task_list) <= HANDLER_PARAMS_MAX, "values of a request are kept in an array");

/* The hub's time: the one method of no family. */
void run_ping(struct request *request, const struct span *values)
{
    (void)values;
    struct buf *result = request_result(request);
    buf_append_char(result, '{');
    json_member_time(result, "time", clock_wall_ms());
    buf_append_char(result, '}');
    request_reply(request, buf_span(result));
}

/* ---- what concerns all of them ---- */

static void on_stall(void *ctx)
{
    struct app *app = ctx;
    log_warn("Redis hangs; requests are refused until it answers");
    requests_stalled(app->requests);
}

static void on_leave(struct client *client)
{
    audio_leave(client);
    admin_unwatch(client);
}

void app_start(struct app *app)
{
    app->methods = handlers;
    app->method_count = NELEMS(handlers);
    app->client_hooks = (struct client_hooks){audio_frame, on_leave};
    app->requests = requests_new();
    list_init(&app->watchers);
    redis_on_stall(queue_redis(app->queue), app->probe, (unsigned)app->options->redis_silence_ms, on_stall,
                   app);
    token_turns_start(app);
    snapshots_start(app);
    audio_start(app);
}

void app_stop(struct app *app)
{
    audio_stop(app);
    snapshots_stop(app);
    token_turns_stop(app);
    requests_free(&app->requests);
}

void app_redis(struct app *app, bool ready)
{
    app->redis_ready = ready;
    manager_redis(app->manager, ready);
    if (!ready)
        return;
    revocations_read(app);
    owners_reconnected(app->owners);
    audio_redis_up(app);
}

void app_event(void *ctx, const char *owner, struct event *event)
{
    struct app *app = ctx;
    if (event->type->terminal)
        audio_ended(app, event->task_id);
    owners_event(app->owners, owner, event);
}

void app_epoch(void *ctx)
{
    struct app *app = ctx;
    owners_reconnected(app->owners);
}

void app_bell(void *ctx, const char *queue)
{
    struct app *app = ctx;
    (void)queue; /* a hub listens only to "light" */
    manager_bell(app->manager);
}

void app_cancel(void *ctx, const char *id, unsigned fence)
{
    struct app *app = ctx;
    (void)fence;
    manager_cancel_local(app->manager, id);
}
