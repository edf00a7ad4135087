/* SPDX-License-Identifier: MIT */
/* admin.*: figures, tasks of all owners, workers, and watching events of all owners. Every act but the end of
 * watching is logged. Loop thread. */
#include "handlers/methods/methods.h"
#include "handlers/rpc/reply.h"

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

/* ---- watching ---- */

/* The answer says that nothing is missed from now on. */
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
            admin_unwatch(client); /* a refreshed token took the role away */
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
