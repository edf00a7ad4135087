/* Connections as the handlers see them: what happens when one opens, speaks and closes. Loop thread. */
#include "handlers/session/session.h"

#include "handlers/rpc/rpc.h"
#include "hub/base/log.h"

static void on_open(struct conn *conn, struct span token)
{
    struct session *session = xcalloc(1, sizeof *session);
    session->app = conn_app(conn);
    session->conn = conn;
    list_init(&session->watching);
    list_init(&session->streams);
    id_random(session->id, sizeof session->id);
    conn_set_user(conn, session);
    if (token.p)
        auth_open(session, token);
}

static void on_text(struct conn *conn, struct span message)
{
    rpc_message(conn, message);
}

static void on_binary(struct conn *conn, struct span message)
{
    audio_frame(session_of(conn), message);
}

static void on_close(struct conn *conn)
{
    struct session *session = session_of(conn);
    owners_leave(conn_member(conn));
    audio_leave(session);
    admin_unwatch(session);
    auth_leave(session);
    conn_set_user(conn, NULL);
    free(session);
}

struct conn_ops app_conn_ops(void)
{
    return (struct conn_ops){on_open, on_text, on_binary, on_close};
}

static void on_stall(void *ctx)
{
    (void)ctx;
    log_warn("Redis hangs; requests are refused until it answers");
    requests_stalled();
}

void app_start(struct app *app)
{
    redis_on_stall(queue_redis(app->queue), on_stall, app);
    auth_turns_start(app);
    audio_start(app);
}

void app_stop(struct app *app)
{
    audio_stop(app);
    auth_turns_stop(app);
}

void app_redis(struct app *app, bool ready)
{
    app->redis_ready = ready;
    if (!ready)
        return;
    manager_redis_up(app->manager);
    owners_reconnected(app->owners);
    audio_redis_up(app);
}

void app_event(struct app *app, const char *owner, struct event *event)
{
    owners_event(app->owners, owner, event, NULL);
    if (event->type->terminal)
        audio_ended(app, event->task_id);
}

void app_hold(void *ctx, const char *owner, const char *id)
{
    struct app *app = ctx;
    owners_hold(app->owners, owner, id);
}
