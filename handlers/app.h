/* Everything a handler reaches, wired by main.c. Loop thread only. */
#pragma once

#include "hub/auth.h"
#include "hub/conn.h"
#include "hub/options.h"
#include "hub/owners.h"
#include "tasks/manager.h"
#include "tasks/queue.h"

struct app {
    const struct options *options;
    const struct keyring *keyring;
    struct loop *loop;
    struct conns *conns;
    struct owners *owners;
    struct queue *queue;
    struct queue_feed *feed;
    struct manager *manager;
    bool redis_ready; /* Redis answers and the function library is loaded */
};

/* What the server calls for messages; conn_app() must be the struct app. */
struct conn_ops app_conn_ops(void);
