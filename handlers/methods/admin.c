/* admin.*: figures, tasks of all owners, workers, and watching events of all owners. Every act but the end of
 * watching is logged. Loop thread. */
#include "handlers/session/session.h"
#include "hub/base/clock.h"

#include <stdio.h>

struct watch {
    char owner[USER_ID_MAX + 1]; /* "" = every owner */
    char task[65];               /* "" = every type */
};

static struct list watchers = {&watchers, &watchers}; /* sessions with a watch */

void run_admin_stats(struct request *request, const struct span *values)
{
    (void)values;
    log_admin_act(request, NULL);
    queue_stats(request_app(request)->queue, reply_answer, request);
}

void run_admin_workers(struct request *request, const struct span *values)
{
    (void)values;
    log_admin_act(request, NULL);
    queue_workers(request_app(request)->queue, reply_answer, request);
}

/* ---- watching ------------------------------------------------------------------------------------ */

void run_admin_watch(struct request *request, const struct span *values)
{
    struct session *session = session_of(request_conn(request));
    struct watch watch = {"", ""};
    if ((values[0].p && !json_string_copy(values[0], watch.owner, sizeof watch.owner)) ||
        (values[1].p && !json_string_copy(values[1], watch.task, sizeof watch.task))) {
        fail_param(request, "owner", "owner: too long");
        return;
    }
    if (watch.owner[0] && !auth_user_id_valid(span_of(watch.owner))) {
        fail_param(request, "owner", "owner: must be an owner's id");
        return;
    }
    if (watch.task[0] && watch.task[strspn(watch.task, "abcdefghijklmnopqrstuvwxyz0123456789_.")]) {
        fail_param(request, "task", "task: must be the name of a task type");
        return;
    }
    log_admin_act(request, NULL);
    if (session->watch == NULL) {
        session->watch = xmalloc(sizeof watch);
        list_append(&watchers, &session->watching);
        if (session->app->watchers++ == 0)
            queue_feed_watch(session->app->feed, true);
    }
    *session->watch = watch;
    request_reply(request, SPAN("{\"watching\":true}"));
}

void admin_unwatch(struct session *session)
{
    if (session->watch == NULL)
        return;
    free(session->watch);
    session->watch = NULL;
    list_remove(&session->watching);
    if (--session->app->watchers == 0)
        queue_feed_watch(session->app->feed, false);
}

void run_admin_unwatch(struct request *request, const struct span *values)
{
    (void)values;
    admin_unwatch(session_of(request_conn(request)));
    request_reply(request, SPAN("{\"watching\":false}"));
}

static bool wanted(const struct watch *watch, const char *owner, struct span body)
{
    if (watch->owner[0] && strcmp(watch->owner, owner) != 0)
        return false;
    return watch->task[0] == '\0' || json_string_is(json_get(body, "task"), watch->task);
}

void app_admin_event(struct app *app, const char *owner, struct event *event)
{
    (void)app;
    if (event->task_id[0] == '\0') /* a notification: a message to its owner */
        return;
    struct span body = {event->body, event->size};
    struct buf text = BUF_INIT;
    list_for_each_safe (node, after, &watchers) {
        struct session *session = container_of(node, struct session, watching);
        const struct principal *who = conn_who(session->conn);
        if (who == NULL || !(who->roles & (ROLE_ADMIN | ROLE_VIEWER))) {
            admin_unwatch(session); /* a refreshed token took the role away */
            continue;
        }
        if (!wanted(session->watch, owner, body))
            continue;
        if (text.len == 0) {
            buf_append_text(&text, "{\"jsonrpc\":\"2.0\",\"method\":\"admin.event\",\"params\":");
            buf_append_span(&text, body);
            buf_append_char(&text, '}');
        }
        conn_send_droppable(session->conn, buf_span(&text));
    }
    buf_free(&text);
}
