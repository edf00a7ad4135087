/* SPDX-License-Identifier: MIT */
/* admin.*: figures, workers, revocation, and watching the events of all owners. Logs every act except the
 * end of watching. Loop thread. Never decides who may call: the dispatch table does. */
#include "handlers/methods/methods.h"
#include "handlers/rpc/reply.h"
#include "handlers/session/revocations.h"
#include "hub/auth/bearers.h"
#include "hub/base/clock.h"
#include "hub/config/options.h"
#include "tasks/queue/revocations.h"

struct watch {
    char owner[OWNER_SIZE]; /* "" = every owner */
    char task[65];          /* "" = every type */
};

void run_admin_stats(struct request *request, const struct span *values)
{
    (void)values;
    log_admin_act(request, NULL);
    queue_stats(request->app->queue, reply_answer, request);
}

void run_admin_workers(struct request *request, const struct span *values)
{
    (void)values;
    log_admin_act(request, NULL);
    queue_workers(request->app->queue, reply_answer, request);
}

/* ---- revocation ---- */

/* Reads "before", by default now: all existing tokens. Rounded up to whole seconds, since iat is
 * truncated. False and answered if it is not a time, or lies ahead: it would refuse tokens not issued yet. */
static bool take_before(struct request *request, struct span value, int64_t *ret_before_s)
{
    char text[40] = "";
    int64_t now_ms = clock_wall_ms(), before_ms = now_ms;
    if (value.p)
        before_ms = json_string_copy(value, text, sizeof text) ? clock_parse(text, strlen(text)) : -1;
    *ret_before_s = (before_ms + 999) / 1000 + (value.p == NULL);
    if (before_ms >= 0 && before_ms <= now_ms + AUTH_SKEW_S * 1000)
        return true;
    fail_param(request, "before", "must be a time like 2026-01-31T10:20:30Z, not in the future");
    return false;
}

/* Reads the list at once: this hub need not wait for its next regular look. */
static void on_revoked(void *ctx, enum queue_code code)
{
    struct request *request = ctx;
    if (code == QUEUE_OK)
        revocations_read(request->app);
    reply_done(request, code);
}

void run_admin_revoke(struct request *request, const struct span *values)
{
    struct buf entry CLEANUP(buf_free) = BUF_INIT, jti CLEANUP(buf_free) = BUF_INIT;
    char owner[OWNER_SIZE], token_id[TOKEN_ID_SIZE];
    int64_t before_s,
        until_s = revocation_until(clock_wall_ms() / 1000, request->app->options->auth_max_ttl_s);
    if ((values[0].p == NULL) == (values[1].p == NULL)) {
        fail_param(request, "jti", "it or user_id must be given, and not both");
        return;
    }
    if (values[0].p && values[2].p) {
        fail_param(request, "before", "goes with user_id");
        return;
    }
    if (values[1].p && !owner_of_json(values[1], owner)) {
        fail_param(request, "user_id", "must be an owner's id");
        return;
    }
    if (!take_before(request, values[2], &before_s))
        return;
    if (values[1].p) {
        revocation_of_owner(&entry, owner, until_s, before_s);
    } else {
        json_string_append(&jti, values[0]);
        auth_token_id_of_jti(buf_span(&jti), token_id);
        revocation_of_token(&entry, token_id, until_s);
    }
    log_admin_act(request, NULL);
    queue_revoke(request->app->queue, buf_span(&entry), until_s, on_revoked, request);
}

/* ---- watching ---- */

/* Answers once no event can be missed any more. */
static void on_watching(void *ctx, enum queue_code code)
{
    struct request *request = ctx;
    struct client *client = request_client(request);
    if (code == QUEUE_OK) {
        request_reply(request, SPAN("{\"watching\":true}"));
        return;
    }
    if (client)
        admin_unwatch(client);
    fail_queue(request, code);
}

void run_admin_watch(struct request *request, const struct span *values)
{
    struct app *app = request->app;
    struct client *client = request_client(request);
    struct watch watch = {"", ""};
    text_of(values[1], watch.task, sizeof watch.task);
    if (values[0].p && !owner_of_json(values[0], watch.owner)) {
        fail_param(request, "owner", "must be an owner's id");
        return;
    }
    if (watch.task[0] && watch.task[strspn(watch.task, "abcdefghijklmnopqrstuvwxyz0123456789_.")]) {
        fail_param(request, "task", "must be the name of a task type");
        return;
    }
    log_admin_act(request, NULL);
    if (client->watch == NULL) {
        client->watch = xmalloc(sizeof watch);
        list_append(&app->watchers, &client->watching);
    }
    *client->watch = watch;
    queue_feed_watch(app->feed, on_watching, request);
}

void admin_unwatch(struct client *client)
{
    struct app *app = client->answerer->app;
    if (client->watch == NULL)
        return;
    free(client->watch);
    client->watch = NULL;
    list_remove(&client->watching);
    if (list_empty(&app->watchers))
        queue_feed_unwatch(app->feed);
}

void run_admin_unwatch(struct request *request, const struct span *values)
{
    (void)values;
    admin_unwatch(request_client(request));
    request_reply(request, SPAN("{\"watching\":false}"));
}

static bool wanted(const struct watch *watch, const char *owner, struct span body)
{
    if (watch->owner[0] && strcmp(watch->owner, owner) != 0)
        return false;
    return watch->task[0] == '\0' || json_string_is(json_get(body, "task"), watch->task);
}

void app_admin_event(void *ctx, const char *owner, struct event *event)
{
    struct app *app = ctx;
    if (event->task_id[0] == '\0') /* a notification: a message to its owner */
        return;
    struct span body = {event->body, event->size};
    struct buf text = BUF_INIT;
    list_for_each_safe (node, after, &app->watchers) {
        struct client *client = container_of(node, struct client, watching);
        struct answerer *to = client->answerer;
        if (to->who == NULL || !(to->who->roles & (ROLE_ADMIN | ROLE_VIEWER))) {
            admin_unwatch(client); /* a refreshed token no longer has the role */
            continue;
        }
        if (!wanted(client->watch, owner, body))
            continue;
        if (text.len == 0) {
            buf_append_text(&text, "{\"jsonrpc\":\"2.0\",\"method\":\"admin.event\",\"params\":");
            buf_append_span(&text, body);
            buf_append_char(&text, '}');
        }
        to->ops->send(to->sink, buf_span(&text), true);
    }
    buf_free(&text);
}
