/* SPDX-License-Identifier: MIT */
/* A hub that serves, for the files of the composition root: serve.c builds it and takes it apart, readiness.c
 * follows its Redis, drain.c brings it to its end. Loop thread only. */
#pragma once

#include "handlers/rpc/app.h"
#include "hub/base/child.h"
#include "hub/config/options.h"
#include "hub/net/server.h"
#include "hub/process.h"
#include "hub/redis/private_redis.h"

struct hub {
    struct options options;
    struct keyring *keyring;
    struct app app;
    int exit_code;

    /* serve.c */
    struct loop loop;
    struct server *server;
    struct private_redis *private_redis; /* NULL with redis.url */
    char *worker_program;
    char *redis_url;              /* of the private Redis, once its lock is held */
    char name[PROCESS_NAME_SIZE]; /* that it wants; it may get another */
    char *worker_name;            /* of the private worker; NULL = there is none */
    uv_timer_t *tick;
    uint64_t tick_due_ms;
    bool on_terminal;

    /* readiness.c */
    struct redis *commands, *subscriber, *probe;
    struct redis *confirmed; /* what is told once replicas have it; NULL without redis.min_replicas */
    bool lagging, unheard;   /* they had not in time: not since the last probe, events of it are not told */
    enum library { LIBRARY_UNKNOWN, LIBRARY_ASKED, LIBRARY_LOADED } library; /* of functions, in this Redis */
    char trouble[200];                                                       /* why Redis cannot be used */
    uv_timer_t *probe_timer;    /* of Redis, while the library is loaded */
    bool probing;               /* it is under way */
    struct queue_probed probed; /* what it said last; not answered while the library is not loaded */
    bool filling;               /* Redis' memory is nearly used up: it was logged */
    const char *losable;        /* what a crash of this Redis would lose, NULL = nothing */
    bool announced;
    struct child *worker; /* of the private Redis, once that can be used */

    /* drain.c */
    bool draining;
    unsigned leaving; /* parts that are still being drained */
    uv_timer_t *guard;
};

/* ---- readiness.c: ready is a hub whose commands Redis takes and that hears events ---- */

/* Opens the connections, and follows Redis from then on: it comes and goes, it fits or not, the function
 * library is loaded, then the worker of a private one is started. */
void readiness_connect(struct hub *hub, const struct redis_url *url);
/* Call every second: tries again where Redis answers but could not be used. */
void readiness_retry(struct hub *hub);
/* Whether the hub is ready; appends what speaks against it and what to know besides, as JSON members (see
 * docs/operations.md). `ctx`: the app. For the server. */
bool readiness_ask(void *ctx, struct buf *members);

/* ---- drain.c ---- */

/* Begins the end, once: connections, light tasks and the worker are drained side by side, then Redis is
 * stopped, then the loop. What holds on too long is cut off with the process. */
void drain_begin(struct hub *hub, int exit_code);
