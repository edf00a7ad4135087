/* SPDX-License-Identifier: MIT */
/* Brings a hub to its end; see hub.h. */
#include "hub/hub.h"

#include "hub/base/log.h"
#include "hub/private_worker.h"

#include <unistd.h>

#define DRAIN_MS 4000       /* for connections and light tasks */
#define LEAVE_MS 500        /* to give the name back */
#define DRAIN_GUARD_MS 9000 /* then the rest is cut off */

static void stop_loop(void *ctx)
{
    struct hub *hub = ctx;
    uv_stop(&hub->loop.uv);
}

static void on_left(void *ctx, enum queue_code code)
{
    (void)code;
    stop_loop(ctx);
}

static void on_late(uv_timer_t *timer)
{
    stop_loop(timer->data);
}

static void on_drained(void *ctx)
{
    struct hub *hub = ctx;
    if (--hub->leaving)
        return;
    if (hub->private_redis) {
        private_redis_stop(hub->private_redis, stop_loop, hub);
    } else if (hub->library == LIBRARY_LOADED) {
        uv_timer_start(hub->guard, on_late, LEAVE_MS, 0);
        queue_leave(hub->app.queue, on_left, hub);
    } else {
        stop_loop(hub);
    }
}

/* Cuts off what still holds on: the kernel takes the children down with this process. */
static void on_guard(uv_timer_t *timer)
{
    struct hub *hub = timer->data;
    log_warn("not everything ended in time");
    _exit(hub->exit_code);
}

void drain_begin(struct hub *hub, int exit_code)
{
    if (hub->draining)
        return;
    hub->draining = true;
    hub->exit_code = exit_code;
    unsigned grace = private_worker_grace_ms(&hub->options), guard = grace + 2000;
    if (hub->worker == NULL || guard < DRAIN_GUARD_MS)
        guard = DRAIN_GUARD_MS;
    uv_timer_start(hub->guard, on_guard, guard, 0);
    hub->leaving = 1;
    if (hub->worker) {
        hub->leaving++;
        child_stop(hub->worker, grace, on_drained, hub);
    }
    if (hub->app.manager) {
        hub->leaving += 2;
        server_drain(hub->server, DRAIN_MS, on_drained, hub);
        manager_drain(hub->app.manager, DRAIN_MS, on_drained, hub);
    }
    on_drained(hub);
}
