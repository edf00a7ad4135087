/* SPDX-License-Identifier: MIT */
/* Everything a handler reaches, wired by hub/serve.c. Loop thread only. */
#pragma once

#include "handlers/rpc/request.h"
#include "tasks/manager/manager.h"
#include "tasks/queue/queue.h"

struct app {
    const struct options *options;
    const struct keyring *keyring;
    struct bearers *bearers; /* everybody authenticated by a token */
    struct loop *loop;
    struct owners *owners;
    struct redis *probe; /* probed to see whether Redis hangs; NULL: the queue's own connection tells */
    struct queue *queue;
    struct queue_feed *feed;
    struct manager *manager;
    bool revocations_unknown; /* the list of revocations is unknown: nobody is admitted or answered */
    bool redis_ready;         /* Redis answers and the function library is loaded; set by app_redis() */

    /* private to handlers/, made by app_start() */
    const struct handler *methods; /* the dispatch table */
    size_t method_count;
    struct client_hooks client_hooks;
    struct requests *requests;
    struct token_turns *token_turns; /* session/ */
    struct revocations *revocations; /* session/ */
    struct snapshots *snapshots;     /* session/ */
    struct audio *audio;             /* methods/ */
    struct list watchers;            /* methods/: clients with admin.watch */
};
