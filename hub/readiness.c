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
#define CONFIRM_MS 1000 /* that replicas have */

#define MEMORY_ALARM_PERCENT 80 /* of maxmemory */

#define PROBE_MS 1000
#define PROBE_SOON_MS 100 /* while the hub is not ready */

/* ---- /readyz ---- */

/* What is wrong with Redis, NULL if nothing is. */
static const char *redis_reason(const struct hub *hub)
{
    const char *private = hub->private_redis ? private_redis_state(hub->private_redis) : NULL;
    if (!hub->app.redis_ready)
        return private ? private : hub->trouble;
    if (redis_is_stalled(hub->commands))
        return "no answer";
    if (hub->lagging)
        return redis_refusal_text(REDIS_NOREPLICAS);
    if (!hub->probed.answered)
        return "it was not tried yet";
    return hub->probed.refusal == REDIS_TAKES ? NULL : redis_refusal_text(hub->probed.refusal);
}

/* Appends a member; the first one opens the object. */
static void add(struct buf *to, const char *name, const char *text)
{
    buf_append_char(to, to->len ? ',' : '{');
    buf_append_json(to, span_of(name));
    buf_append_char(to, ':');
    buf_append_json(to, span_of(text));
}

static void add_unserved(struct buf *to, const struct hub *hub)
{
    for (const char *const *queue = hub->probed.unserved; *queue; queue++) {
        char text[64];
        snprintf(text, sizeof text, "no worker serves queue %s", *queue);
        add(to, *queue, text);
    }
}

static bool is_filling(const struct queue_probed *probed)
{
    return probed->max_bytes && probed->used_bytes > probed->max_bytes / 100 * MEMORY_ALARM_PERCENT;
}

/* While it takes something still: else that is the reason. */
static void add_memory(struct buf *to, const struct queue_probed *probed)
{
    char text[80];
    snprintf(text, sizeof text, "Redis uses %llu %% of its maxmemory",
             (unsigned long long)(probed->used_bytes * 100 / probed->max_bytes));
    add(to, "memory", text);
}

static void append_object(struct buf *to, const char *name, struct buf *members)
{
    if (members->len)
        buf_printf(to, "%s\"%s\":%.*s}", to->len ? "," : "", name, SPAN_ARG(buf_span(members)));
}

/* Who starts its workers itself is not ready without them; others may be about to start. */
bool readiness_ask(void *ctx, struct buf *members)
{
    const struct hub *hub = container_of((struct app *)ctx, struct hub, app);
    struct buf reasons CLEANUP(buf_free) = BUF_INIT, warnings CLEANUP(buf_free) = BUF_INIT;
    const char *redis = redis_reason(hub);
    if (redis)
        add(&reasons, "redis", redis);
    add_unserved(hub->private_redis ? &reasons : &warnings, hub);
    if (redis == NULL && hub->app.revocations_unknown)
        add(&reasons, "auth", "it is not known which tokens were revoked");
    if (hub->draining)
        add(&reasons, "hub", "draining");
    if (hub->losable)
        add(&warnings, "durability", hub->losable);
    if (is_filling(&hub->probed))
        add_memory(&warnings, &hub->probed);
    append_object(members, "reasons", &reasons);
    append_object(members, "warnings", &warnings);
    return reasons.len == 0;
}

/* Ready: commands can be given (the library is loaded) and events heard. */
static void update_ready(struct hub *hub)
{
    bool ready = hub->library == LIBRARY_LOADED && redis_is_up(hub->commands) &&
                 redis_is_up(hub->subscriber) && (hub->confirmed == NULL || redis_is_up(hub->confirmed));
    if (ready != hub->app.redis_ready)
        app_redis(&hub->app, ready);
    metric_set(METRIC_REDIS_UP, redis_reason(hub) == NULL);
}

static void library_become(struct hub *hub, enum library next)
{
    hub->library = next;
    if (next != LIBRARY_LOADED)
        hub->probed = (struct queue_probed){.answered = false};
    update_ready(hub);
}

/* Why it cannot be used, as `trouble` keeps it. Redis' own words may name users and addresses. */
static void set_trouble(struct hub *hub, const char *reason)
{
    enum redis_refusal refusal = redis_refusal_of(reason);
    snprintf(hub->trouble, sizeof hub->trouble, "%s",
             refusal == REDIS_OTHER ? reason : redis_refusal_text(refusal));
}

/* ---- the probe ---- */

static void on_probe(uv_timer_t *timer);

/* A refused probe tells nothing of it. */
static void take_memory(struct hub *hub, const struct queue_probed *probed)
{
    bool filling = is_filling(probed);
    if (filling && !hub->filling)
        log_warn("Redis has nearly used up its maxmemory; then new tasks are refused", "bytes",
                 LOG_NUM((int64_t)probed->used_bytes), "maxmemory", LOG_NUM((int64_t)probed->max_bytes));
    hub->filling = filling;
    if (probed->used_bytes == 0)
        return;
    metric_set(METRIC_REDIS_USED, probed->used_bytes);
    metric_set(METRIC_REDIS_MAX, probed->max_bytes);
}

static void on_probed(void *ctx, const struct queue_probed *probed)
{
    struct hub *hub = ctx;
    struct buf members CLEANUP(buf_free) = BUF_INIT;
    hub->probing = false;
    if (hub->library != LIBRARY_LOADED)
        return;
    hub->probed = *probed;
    take_memory(hub, probed);
    hub->lagging = hub->lagging && !probed->answered;
    update_ready(hub);
    uv_timer_start(hub->probe_timer, on_probe, readiness_ask(&hub->app, &members) ? PROBE_MS : PROBE_SOON_MS,
                   0);
}

static void probe(struct hub *hub)
{
    if (hub->probing || hub->library != LIBRARY_LOADED)
        return;
    hub->probing = true;
    queue_probe(hub->app.queue, on_probed, hub);
}

static void on_probe(uv_timer_t *timer)
{
    probe(timer->data);
}

/* ---- the library ---- */

static void start_worker(struct hub *hub)
{
    if (hub->private_redis == NULL || hub->worker || hub->draining)
        return;
    hub->worker = private_worker_new(&hub->loop, &hub->options, hub->worker_program, hub->worker_name,
                                     hub->redis_url, private_redis_descriptor(hub->private_redis));
}

/* Says so once; it is tried again each second. */
static void cannot_be_used(struct hub *hub, const char *reason)
{
    char before[sizeof hub->trouble];
    memcpy(before, hub->trouble, sizeof before);
    library_become(hub, LIBRARY_UNKNOWN);
    set_trouble(hub, reason);
    if (strcmp(before, hub->trouble) != 0)
        log_error("Redis cannot be used", "reason", hub->trouble);
}

static void on_loaded(void *ctx, enum queue_code code, const char *reason)
{
    struct hub *hub = ctx;
    library_become(hub, code == QUEUE_OK ? LIBRARY_LOADED : LIBRARY_UNKNOWN);
    if (!redis_is_up(hub->commands))
        return;
    if (code != QUEUE_OK) {
        cannot_be_used(hub, reason);
        if (code == QUEUE_STATE) /* it will not change back */
            drain_begin(hub, EXIT_TROUBLE);
        return;
    }
    probe(hub);
    if (hub->private_redis)
        private_redis_ready(hub->private_redis);
    start_worker(hub);
    if (hub->announced)
        log_info("Redis answers again");
    else if (!hub->draining)
        process_announce(&hub->options, hub->keyring, server_address(hub->server),
                         queue_name(hub->app.queue));
    hub->announced = true;
    hub->trouble[0] = '\0';
}

/* What speaks against this Redis for good; NULL if nothing does. */
static const char *refuse(const struct hub *hub, const struct redis_facts *facts)
{
    return redis_facts_refuse(facts, hub->options.redis_allow_volatile, hub->options.redis_require_durable);
}

static void on_replicas(void *ctx, const redisReply *reply)
{
    struct hub *hub = ctx;
    if (reply == NULL)
        return;
    const char *refusal = redis_facts_refuse_replicas(reply, hub->options.redis_min_replicas);
    if (refusal)
        cannot_be_used(hub, refusal);
    else
        queue_load(hub->app.queue, on_loaded, hub);
}

static void take_facts(struct hub *hub, const struct redis_facts *facts)
{
    const char *refusal = refuse(hub, facts);
    if (refusal) {
        log_error(refusal, "version", facts->version, "maxmemory_policy", facts->policy, "aof_enabled",
                  facts->aof ? "1" : "0");
        drain_begin(hub, EXIT_TROUBLE);
        return;
    }
    const char *losable = redis_facts_warn(facts, hub->options.redis_allow_volatile);
    if (losable && hub->losable == NULL)
        log_warn(losable);
    hub->losable = losable;
    if (hub->confirmed)
        redis_callv(hub->commands, on_replicas, hub, REDIS_ASK_REPLICAS, NULL);
    else
        queue_load(hub->app.queue, on_loaded, hub);
}

static void on_info(void *ctx, const redisReply *reply)
{
    struct hub *hub = ctx;
    struct redis_facts facts;
    if (reply == NULL)
        return;
    if (reply->type != REDIS_REPLY_STRING) {
        cannot_be_used(hub, reply->str ? reply->str : "it does not answer INFO");
        return;
    }
    redis_facts_read((struct span){reply->str, (size_t)reply->len}, &facts);
    take_facts(hub, &facts);
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
    char before[sizeof hub->trouble];
    memcpy(before, hub->trouble, sizeof before);
    library_become(hub, LIBRARY_UNKNOWN);
    set_trouble(hub, reason);
    if (!expected && strcmp(before, hub->trouble) != 0)
        log_warn("Redis does not answer; it is tried again and again", "reason", hub->trouble);
}

static void on_subscriber_up(void *ctx)
{
    struct hub *hub = ctx;
    queue_feed_up(hub->app.feed);
    update_ready(hub);
}

static void on_follower_down(void *ctx, const char *reason)
{
    struct hub *hub = ctx;
    log_debug("a connection besides that of commands was lost", "reason", reason);
    if (hub->library == LIBRARY_LOADED)
        set_trouble(hub, reason);
    update_ready(hub);
}

/* The replicas did not have in time what was written: nobody was told, and its events stand in the log. */
static void on_short(void *ctx)
{
    struct hub *hub = ctx;
    hub->lagging = hub->unheard = true;
}

static void on_confirmed_up(void *ctx)
{
    update_ready(ctx);
}

static void open_confirmed(struct hub *hub, const struct redis_url *url)
{
    const struct redis_hooks hooks = {on_confirmed_up, on_follower_down, hub};
    hub->confirmed = redis_new(&hub->loop, url, COMMAND_TIMEOUT_MS, hooks);
    redis_confirm(hub->confirmed, (unsigned)hub->options.redis_min_replicas, CONFIRM_MS, on_short, hub);
    redis_follow(hub->confirmed, hub->commands);
}

void readiness_connect(struct hub *hub, const struct redis_url *url)
{
    const struct redis_hooks commands = {on_commands_up, on_commands_down, hub};
    const struct redis_hooks subscriber = {on_subscriber_up, on_follower_down, hub};
    snprintf(hub->trouble, sizeof hub->trouble, "connecting");
    hub->commands = redis_new(&hub->loop, url, COMMAND_TIMEOUT_MS, commands);
    hub->subscriber = redis_new(&hub->loop, url, COMMAND_TIMEOUT_MS, subscriber);
    hub->probe = redis_new(&hub->loop, url, COMMAND_TIMEOUT_MS, (struct redis_hooks){.ctx = hub});
    redis_follow(hub->subscriber, hub->commands);
    redis_follow(hub->probe, hub->commands);
    if (hub->options.redis_min_replicas)
        open_confirmed(hub, url);
    hub->app.probe = hub->probe;
}

void readiness_retry(struct hub *hub)
{
    metric_set(METRIC_REDIS_UP, hub->commands && redis_reason(hub) == NULL);
    if (!redis_is_up(hub->commands) || hub->draining)
        return;
    redis_check_role(hub->commands);
    if (hub->unheard && hub->app.redis_ready)
        owners_reconnected(hub->app.owners);
    hub->unheard = false;
    if (hub->library == LIBRARY_UNKNOWN)
        load(hub);
}
