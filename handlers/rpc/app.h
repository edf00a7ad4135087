/* Everything a handler reaches, wired by main.c. Loop thread only. */
#pragma once

#include "hub/auth/auth.h"
#include "hub/config/options.h"
#include "hub/net/conn.h"
#include "hub/owners/owners.h"
#include "tasks/manager/manager.h"
#include "tasks/queue/queue.h"

struct app {
    const struct options *options;
    const struct keyring *keyring;
    struct loop *loop;
    struct conns *conns;
    struct owners *owners;
    struct queue *queue;
    struct queue_feed *feed;
    struct manager *manager;
    bool redis_ready; /* Redis answers and the function library is loaded; set by app_redis() */

    /* the handlers' own, made by app_start() */
    struct auth_turns *auth_turns;
    struct audio *audio;
    unsigned watchers; /* connections with admin.watch */
};

/* What the server calls for messages; conn_app() must be the struct app. */
struct conn_ops app_conn_ops(void);
/* Once everything above is set, before the first connection. */
void app_start(struct app *app);
/* After the last connection has closed. */
void app_stop(struct app *app);
/* Redis answers and the library is loaded, or it does not any more: tells everybody who waits for it. */
void app_redis(struct app *app, bool ready);
/* manager_config.hold: owners_hold(). `app` is the struct app. */
void app_hold(void *app, const char *owner, const char *id);
/* An event of this owner: for the owner's sockets, and for what this hub does for the task. */
void app_event(struct app *app, const char *owner, struct event *event);
/* queue_feed_hooks.on_admin: an event of any owner, for connections that watch. */
void app_admin_event(struct app *app, const char *owner, struct event *event);
