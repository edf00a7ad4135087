/* SPDX-License-Identifier: MIT */
/* Follows the hub's Redis and says whether the hub can serve; see hub.h. */
#include "hub/hub.h"

#include "handlers/methods/methods.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/config/cli.h"
#include "hub/private_worker.h"
#include "hub/redis/redis_facts.h"

#include <stdio.h>

#define COMMAND_TIMEOUT_MS 10000

bool readiness_ask(void *ctx, struct buf *reasons)
{
    struct app *app = ctx;
    struct hub *hub = container_of(app, struct hub, app);
    bool usable = app->redis_ready && !redis_is_stalled(hub->commands);
    if (usable && !hub->draining)
        return true;
    const char *redis = hub->private_redis ? private_redis_state(hub->private_redis) : NULL;
    buf_append_char(reasons, '{');
    if (!usable) {
        buf_append_text(reasons, "\"redis\":");
        buf_append_json(reasons, span_of(app->redis_ready ? "no answer" : redis ? redis : hub->trouble));
    }
    if (hub->draining)
        buf_append_text(reasons, usable ? "\"draining\":true" : ",\"draining\":true");
    buf_append_char(reasons, '}');
    return false;
}

/* Ready: commands can be given (the library is loaded) and events heard. */
static void update_ready(struct hub *hub)
{
    bool ready = hub->library == LIBRARY_LOADED && redis_is_up(hub->commands) && redis_is_up(hub->subscriber);
    if (ready != hub->app.redis_ready)
        app_redis(&hub->app, ready);
    metric_set(METRIC_REDIS_UP, ready);
}

static void library_become(struct hub *hub, enum library next)
{
    hub->library = next;
    update_ready(hub);
}

/* ---- the library ---- */

static void start_worker(struct hub *hub)
{
    if (hub->private_redis == NULL || hub->worker || hub->draining)
        return;
    hub->worker = private_worker_new(&hub->loop, &hub->options, hub->worker_program, hub->name,
                                     hub->redis_url, private_redis_descriptor(hub->private_redis));
}

static void on_loaded(void *ctx, enum queue_code code, const char *reason)
{
    struct hub *hub = ctx;
    library_become(hub, code == QUEUE_OK ? LIBRARY_LOADED : LIBRARY_UNKNOWN);
    if (!redis_is_up(hub->commands))
        return;
    if (code != QUEUE_OK) {
        snprintf(hub->trouble, sizeof hub->trouble, "%s", reason ? reason : "the functions cannot be loaded");
        log_error("Redis cannot be used", "reason", hub->trouble);
        if (code == QUEUE_STATE) /* it will not change back */
            drain_begin(hub, EXIT_TROUBLE);
        return;
    }
    if (hub->private_redis)
        private_redis_ready(hub->private_redis);
    start_worker(hub);
    if (hub->announced)
        log_info("Redis answers again");
    else if (!hub->draining)
        process_announce(&hub->options, hub->keyring, server_address(hub->server), hub->name);
    hub->announced = true;
    hub->trouble[0] = '\0';
}

static void on_info(void *ctx, const redisReply *reply)
{
    struct hub *hub = ctx;
    struct redis_facts facts = {0};
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_STRING)
        redis_facts_read((struct span){reply->str, (size_t)reply->len}, &facts);
    else
        log_warn("Redis does not answer INFO", "reason", reply->str ? reply->str : "");
    const char *refusal = redis_facts_refuse(&facts, hub->options.redis_allow_volatile);
    if (refusal) {
        log_error(refusal, "version", facts.version, "maxmemory_policy", facts.policy, "aof_enabled",
                  facts.aof ? "1" : "0");
        drain_begin(hub, EXIT_TROUBLE);
        return;
    }
    queue_load(hub->app.queue, on_loaded, hub);
}

static void load(struct hub *hub)
{
    library_become(hub, LIBRARY_ASKED);
    redis_callv(hub->commands, on_info, hub, "INFO", NULL);
}

/* ---- the connections ---- */

static void on_commands_up(void *ctx)
{
    load(ctx);
}

static void on_commands_down(void *ctx, const char *reason)
{
    struct hub *hub = ctx;
    bool expected = hub->draining || (hub->private_redis && !hub->announced);
    library_become(hub, LIBRARY_UNKNOWN);
    if (!expected && strcmp(hub->trouble, reason) != 0)
        log_warn("Redis does not answer; it is tried again and again", "reason", reason);
    snprintf(hub->trouble, sizeof hub->trouble, "%s", reason);
}

static void on_subscriber_up(void *ctx)
{
    struct hub *hub = ctx;
    queue_feed_up(hub->app.feed);
    update_ready(hub);
}

static void on_subscriber_down(void *ctx, const char *reason)
{
    struct hub *hub = ctx;
    log_debug("no connection for events", "reason", reason);
    if (hub->library == LIBRARY_LOADED)
        snprintf(hub->trouble, sizeof hub->trouble, "%s", reason);
    update_ready(hub);
}

void readiness_connect(struct hub *hub, const struct redis_url *url)
{
    const struct redis_hooks commands = {on_commands_up, on_commands_down, hub};
    const struct redis_hooks subscriber = {on_subscriber_up, on_subscriber_down, hub};
    snprintf(hub->trouble, sizeof hub->trouble, "connecting");
    hub->commands = redis_new(&hub->loop, url, COMMAND_TIMEOUT_MS, commands);
    hub->subscriber = redis_new(&hub->loop, url, COMMAND_TIMEOUT_MS, subscriber);
    hub->probe = redis_new(&hub->loop, url, COMMAND_TIMEOUT_MS, (struct redis_hooks){.ctx = hub});
    hub->app.probe = hub->probe;
}

void readiness_retry(struct hub *hub)
{
    if (hub->commands && redis_is_up(hub->commands) && hub->library == LIBRARY_UNKNOWN && !hub->draining)
        load(hub);
}
