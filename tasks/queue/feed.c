/* SPDX-License-Identifier: MIT */
/* Feeds: the subscriptions of a process and what arrives on them; see queue.h. A hub hears all its owners
 * on one channel of its own: the library publishes there the events of the owners that this hub has
 * attached. Attaching an owner calls a function that marks this hub as a listener and returns the position
 * of the log; the call waits for the subscription, so no event is missed in between. The log behind a
 * position is read here, too: its short entries become events again, with results and errors taken from
 * the records. Loop thread only. */
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/base/table.h"
#include "tasks/queue/client_private.h"
#include "tasks/queue/shard.h"

#define TICK_MS 1500      /* if all are silent for longer, running time counts 3 s only */
#define WATCH_TICKS 3     /* Redis forgets the wish to watch after 15 s */
#define ALIVE_TICKS 13    /* a hub not heard from for 120 s counts as dead */
#define SILENCE_MS 100000 /* after this long others may have forgotten this hub */
#define CHANNELS 8
#define TELL_PAGE 256 /* events read at once after a call that failed half-way */

enum logged { /* words per event in the answer of the function */
              LOGGED_SEQ,
              LOGGED_ENTRY,
              LOGGED_TEXT,
              LOGGED_OUTCOME,
};

struct feed_owner { /* an owner this hub listens to, or will once it is subscribed */
    struct table_node node;
    owner_position_fn *fn; /* gets the position; NULL = nobody waits */
    void *ctx;
    const struct op *call; /* the newest attach, which tells the position; NULL = answered */
};

struct channel { /* a channel wanted besides the hub's own */
    const char *kind;
    char name[CHANNEL_MAX];
    redis_reply_fn *fn;
};

struct watcher { /* waits for the subscription to every owner's events */
    struct list node;
    queue_done_fn *fn;
    void *ctx;
};

struct queue_feed {
    struct queue *queue;
    struct redis *subscriber;
    struct queue_feed_hooks hooks;
    struct table owners;
    bool subscribed;  /* Redis has confirmed the hub's channel … */
    bool subscribing; /* … or will, or the connection goes */
    struct channel channels[CHANNELS];
    size_t channel_count;
    bool watching;
    bool watched; /* Redis has confirmed that subscription */
    struct list watchers;
    uv_timer_t *timer;
    unsigned ticks;
    uint64_t alive_ms; /* when this hub last reported itself alive */
    int64_t steps;     /* steps of Redis' clock known here; -1 = not yet */
    char epoch[24];    /* of the data set; "" = none yet */
};

/* ---- calls about an owner ---- */

struct owner_call { /* what is needed to interpret the answer */
    uint64_t number;
    char owner[];
};

static void drop_call(struct op *op)
{
    free(op->more);
}

static struct op *owner_op(struct queue *queue, const char *function, const char *owner, uint64_t number,
                           void (*done)(struct op *op, const redisReply *answer), union answer_fn fn,
                           void *ctx)
{
    struct op *op = op_new(queue, function, done, fn, ctx);
    size_t size = strlen(owner) + 1;
    struct owner_call *call = xmalloc(sizeof *call + size);
    call->number = number;
    memcpy(call->owner, owner, size);
    op->more = call;
    op->drop = drop_call;
    words_text(&op->words, owner);
    return op;
}

/* ---- the log ---- */

/* Adds what only the log knows. */
static void set_logged(struct event_text *text, struct span logged)
{
    if (text->code == 'F' || text->code == 'N') {
        text->meta = logged;
    } else if (text->code == 'L') {
        text->message = logged;
    } else if (text->code == 'R' && logged.n) { /* "code\nerror" */
        text->error_code = span_cut(&logged, '\n');
        text->error = logged;
    }
}

/* Adds what the record knows of an ended task; {0} = the record is gone or too large. */
static void set_outcome(struct event_text *text, const redisReply *outcome)
{
    bool known = reply_number(outcome, 0) != 0;
    if (text->code == 'C') {
        text->result = known ? reply_span(outcome, 1) : SPAN_NONE;
        text->omitted = !known;
    } else if (known) {
        text->error_code = reply_span(outcome, 1);
        text->error = reply_span(outcome, 2);
    }
}

static uint16_t mark_of(struct span entry)
{
    struct event_text text;
    return event_text_read(entry, &text) ? event_text_mark(&text) : 0;
}

static struct event *event_of(const char *owner, const redisReply *logged)
{
    struct event_text text;
    if (!event_text_read(reply_span(logged, LOGGED_ENTRY), &text))
        return NULL;
    text.owner = span_of(owner);
    set_logged(&text, reply_span(logged, LOGGED_TEXT));
    set_outcome(&text, reply_array(logged, LOGGED_OUTCOME));
    return event_text_build(&text, (uint64_t)reply_number(logged, LOGGED_SEQ), 0);
}

static void collect(const char *owner, const redisReply *events, struct owner_replay *replay)
{
    for (size_t i = 0; i < reply_count(events); i++) {
        struct event *event = event_of(owner, reply_array(events, i));
        if (event)
            replay->events[replay->count++] = event;
    }
}

/* {head, more, events, entry before them} */
static struct owner_replay replay_of(const struct owner_call *call, const redisReply *answer)
{
    const redisReply *events = reply_array(answer, 2);
    uint64_t head = (uint64_t)reply_number(answer, 0);
    struct owner_replay replay = {
        .ok = events != NULL, .more = reply_number(answer, 1) != 0, .mark = mark_of(reply_span(answer, 3))};
    replay.events = xcalloc(reply_count(events), sizeof *replay.events);
    collect(call->owner, events, &replay);
    uint64_t first = replay.count ? replay.events[0]->seq : 0;
    replay.gap = replay.ok && (head < call->number || (head > call->number && first != call->number + 1));
    return replay;
}

static void replay_free(struct owner_replay *replay)
{
    for (size_t i = 0; i < replay->count; i++)
        event_unref(&replay->events[i]);
    free(replay->events);
}

static void on_replayed(struct op *op, const redisReply *answer)
{
    struct owner_replay replay = replay_of(op->more, answer);
    op->fn.replay(op->ctx, &replay);
    replay_free(&replay);
    free(op->more);
}

static void replay_op(struct queue *queue, const char *owner, uint64_t after, size_t max,
                      void (*done)(struct op *op, const redisReply *answer), union answer_fn fn, void *ctx)
{
    struct op *op = owner_op(queue, FUNCTION("replay"), owner, after, done, fn, ctx);
    words_number(&op->words, after);
    words_number(&op->words, max);
}

static void tell_logged(struct queue *queue, const char *owner, uint64_t after);

static void on_logged(struct op *op, const redisReply *answer)
{
    struct owner_call *call = op->more;
    struct queue *queue = op->queue;
    struct owner_replay replay = replay_of(call, answer);
    for (size_t i = 0; i < replay.count && queue->hooks.on_event; i++)
        queue->hooks.on_event(queue->hooks.ctx, call->owner, replay.events[i]);
    if (replay.more && replay.count)
        tell_logged(queue, call->owner, replay.events[replay.count - 1]->seq);
    replay_free(&replay);
    free(call);
}

static void tell_logged(struct queue *queue, const char *owner, uint64_t after)
{
    replay_op(queue, owner, after, TELL_PAGE, on_logged, NOBODY, NULL);
}

/* ---- channels ---- */

static void subscribe(struct queue_feed *feed, redis_reply_fn *fn, void *ctx, const char *kind,
                      const char *name)
{
    char channel[CHANNEL_MAX];
    redis_subscribe(feed->subscriber, fn, ctx, shard_channel(channel, kind, name));
}

static void unsubscribe(struct queue_feed *feed, const char *kind, const char *name)
{
    char channel[CHANNEL_MAX];
    redis_unsubscribe(feed->subscriber, shard_channel(channel, kind, name));
}

/* The text of a message; absent for the confirmation of the subscription. */
static struct span message_text(const redisReply *reply)
{
    return strcmp(reply_text(reply, 0), "message") == 0 ? reply_span(reply, 2) : SPAN_NONE;
}

/* ---- owners ---- */

static struct feed_owner *find_owner(struct queue_feed *feed, struct span name)
{
    struct table_node *node = table_find(&feed->owners, name);
    return node ? container_of(node, struct feed_owner, node) : NULL;
}

/* Ignores the answer of an older call: who asked later must get the newer one. */
static void tell_position(const struct op *op, struct span name, const struct owner_position *position)
{
    struct feed_owner *owner = op->queue->feed ? find_owner(op->queue->feed, name) : NULL;
    if (owner == NULL || owner->call != op)
        return;
    owner_position_fn *fn = owner->fn;
    owner->call = NULL;
    owner->fn = NULL;
    if (fn)
        fn(owner->ctx, position);
}

static void note_epoch(struct queue_feed *feed, const char *epoch)
{
    bool other = feed->epoch[0] && strcmp(feed->epoch, epoch) != 0;
    snprintf(feed->epoch, sizeof feed->epoch, "%s", epoch);
    if (other && feed->hooks.on_epoch)
        feed->hooks.on_epoch(feed->hooks.ctx);
}

static void renewed(struct queue *queue, const char *epoch)
{
    if (queue->feed)
        note_epoch(queue->feed, epoch);
}

#define EPOCH_WORD 1 /* of attach: after the first owner, before the others */

/* {epoch, of each owner the head and its entry}. */
static void on_attached(struct op *op, const redisReply *answer)
{
    struct owner_position position = {.ok = reply_count(answer) + 1 == 2 * op->words.count};
    snprintf(position.epoch, sizeof position.epoch, "%s", reply_text(answer, 0));
    for (size_t i = 0, n = 1; i < op->words.count; i++) {
        if (i == EPOCH_WORD)
            continue;
        position.head = (uint64_t)reply_number(answer, n);
        position.mark = mark_of(reply_span(answer, n + 1));
        n += 2;
        tell_position(op, words_at(&op->words, i), &position);
    }
}

/* Gathers the attaches of a turn in one call. */
static void call_attach(struct queue_feed *feed, struct feed_owner *owner)
{
    struct op *op = op_gathers(feed->queue, FUNCTION("attach"));
    if (owner->call == op)
        return;
    owner->call = op;
    op->done = on_attached;
    words_add(&op->words, owner->node.key);
    if (op->words.count == EPOCH_WORD) {
        char epoch[13];
        id_random(epoch, sizeof epoch);
        words_text(&op->words, epoch);
    }
}

/* Attaches all owners, asked for or not: the library forgets a hub whose channel had no subscriber. */
static void attach_all(struct queue_feed *feed)
{
    for (size_t i = 0; i < feed->owners.size; i++)
        for (struct table_node *node = feed->owners.buckets[i]; node; node = node->next)
            call_attach(feed, container_of(node, struct feed_owner, node));
}

/* attach() cannot keep its promise, not even for calls under way: tells whoever waits, who may ask again
 * at once. */
static void on_lost(struct queue_feed *feed)
{
    struct feed_owner *waiting = xcalloc(feed->owners.count, sizeof *waiting);
    size_t count = 0;
    for (size_t i = 0; i < feed->owners.size; i++) {
        for (struct table_node *node = feed->owners.buckets[i]; node; node = node->next) {
            struct feed_owner *owner = container_of(node, struct feed_owner, node);
            if (owner->fn)
                waiting[count++] = *owner;
            owner->fn = NULL;
            owner->call = NULL;
        }
    }
    feed->subscribed = feed->subscribing = false;
    for (size_t i = 0; i < count; i++)
        waiting[i].fn(waiting[i].ctx, &(struct owner_position){.ok = false});
    free(waiting);
}

/* Drops events of an owner this feed does not know: it was detached just now. */
static void on_hub_event(void *ctx, const char *owner, struct event *event)
{
    struct queue_feed *feed = ctx;
    if (feed->hooks.on_event && find_owner(feed, span_of(owner)))
        feed->hooks.on_event(feed->hooks.ctx, owner, event);
}

static void on_hub(void *ctx, const redisReply *reply)
{
    struct queue_feed *feed = ctx;
    struct span text = reply ? message_text(reply) : SPAN_NONE;
    if (reply == NULL) {
        on_lost(feed);
    } else if (text.p) {
        event_lines_tell(text, on_hub_event, feed);
    } else {
        feed->subscribed = true;
        feed->subscribing = false;
        attach_all(feed);
    }
}

static void subscribe_hub(struct queue_feed *feed)
{
    feed->subscribing = true;
    subscribe(feed, on_hub, feed, "hub:", feed->queue->holder);
}

static void attach(void *ctx, const char *name, owner_position_fn *fn, void *fn_ctx)
{
    struct queue_feed *feed = ctx;
    struct feed_owner *owner = find_owner(feed, span_of(name));
    if (owner == NULL)
        owner = table_new(&feed->owners, sizeof *owner, span_of(name));
    owner->fn = fn;
    owner->ctx = fn_ctx;
    if (feed->subscribed)
        call_attach(feed, owner);
    else if (!feed->subscribing)
        subscribe_hub(feed);
}

static void remove_owner(struct queue_feed *feed, struct feed_owner *owner)
{
    table_remove(&feed->owners, &owner->node);
    free(owner);
}

static void detach(void *ctx, const char *name)
{
    struct queue_feed *feed = ctx;
    struct feed_owner *owner = find_owner(feed, span_of(name));
    if (owner == NULL)
        return;
    struct op *op = op_gathers(feed->queue, FUNCTION("detach"));
    words_text(&op->words, name);
    remove_owner(feed, owner);
}

static void replay(void *ctx, const char *owner, uint64_t after, size_t max, owner_replay_fn *fn,
                   void *fn_ctx)
{
    struct queue_feed *feed = ctx;
    replay_op(feed->queue, owner, after, max, on_replayed, (union answer_fn){.replay = fn}, fn_ctx);
}

struct owner_source queue_feed_source(struct queue_feed *feed)
{
    return (struct owner_source){attach, detach, replay, feed};
}

/* ---- bells, control, admin ---- */

static void want(struct queue_feed *feed, const char *kind, const char *name, redis_reply_fn *fn)
{
    if (feed->channel_count == CHANNELS)
        abort(); /* the caller's mistake */
    struct channel *channel = &feed->channels[feed->channel_count++];
    *channel = (struct channel){.kind = kind, .fn = fn};
    snprintf(channel->name, sizeof channel->name, "%s", name);
    if (redis_is_up(feed->subscriber))
        subscribe(feed, fn, feed, kind, channel->name);
}

/* Rings on the confirmation, too: work may have come while nobody listened. */
static void on_bell(void *ctx, const redisReply *reply)
{
    const struct queue_feed *feed = ctx;
    const char *name = reply ? strrchr(reply_text(reply, 1), ':') : NULL;
    if (name && feed->hooks.on_bell)
        feed->hooks.on_bell(feed->hooks.ctx, name + 1);
}

/* "cancel ID FENCE" or "audio ID" */
static void read_control(const struct queue_feed *feed, struct span text)
{
    char verb[8], id[ID_SIZE], line[80];
    unsigned fence = 0;
    snprintf(line, sizeof line, "%.*s", SPAN_ARG(text));
    if (sscanf(line, "%7s %36s %u", verb, id, &fence) < 2)
        return;
    if (strcmp(verb, "cancel") == 0 && feed->hooks.on_cancel)
        feed->hooks.on_cancel(feed->hooks.ctx, id, fence);
    else if (strcmp(verb, "audio") == 0 && feed->hooks.on_audio)
        feed->hooks.on_audio(feed->hooks.ctx, id);
}

static void on_control(void *ctx, const redisReply *reply)
{
    struct span text = reply ? message_text(reply) : SPAN_NONE;
    if (text.p)
        read_control(ctx, text);
}

static void on_watched(struct op *op, const redisReply *answer)
{
    if (op->fn.done)
        op->fn.done(op->ctx, answer ? QUEUE_OK : QUEUE_UNAVAILABLE);
}

static void call_watch(struct queue_feed *feed, queue_done_fn *fn, void *ctx)
{
    op_new(feed->queue, FUNCTION("watch"), on_watched, (union answer_fn){.done = fn}, ctx);
}

/* Answers everybody who waited for the subscription, whether it stands, failed or is no longer wanted. */
static void let_watchers_go(struct queue_feed *feed, bool stands)
{
    struct list waiting;
    list_init(&waiting);
    list_splice(&waiting, &feed->watchers);
    feed->watched = stands;
    for (struct list *node; (node = list_pop(&waiting)) != NULL;) {
        struct watcher *watcher = container_of(node, struct watcher, node);
        if (stands)
            call_watch(feed, watcher->fn, watcher->ctx);
        else
            watcher->fn(watcher->ctx, feed->watching ? QUEUE_UNAVAILABLE : QUEUE_OK);
        free(watcher);
    }
}

static void on_admin(void *ctx, const redisReply *reply)
{
    struct queue_feed *feed = ctx;
    struct span text = reply ? message_text(reply) : SPAN_NONE;
    if (text.p == NULL)
        let_watchers_go(feed, reply != NULL);
    else if (feed->watching)
        event_lines_tell(text, feed->hooks.on_admin, feed->hooks.ctx);
}

void queue_feed_listen_bell(struct queue_feed *feed, const char *queue)
{
    want(feed, "bell:", queue, on_bell);
}

void queue_feed_listen_control(struct queue_feed *feed)
{
    want(feed, "ctl:", feed->queue->holder, on_control);
}

void queue_feed_watch(struct queue_feed *feed, queue_done_fn *fn, void *ctx)
{
    if (feed->watched) {
        call_watch(feed, fn, ctx);
        return;
    }
    struct watcher *watcher = xmalloc(sizeof *watcher);
    *watcher = (struct watcher){.fn = fn, .ctx = ctx};
    list_append(&feed->watchers, &watcher->node);
    bool asked = feed->watching && redis_is_up(feed->subscriber);
    feed->watching = true;
    if (!asked) /* reports a connection that is down */
        subscribe(feed, on_admin, feed, "adm", "");
}

void queue_feed_unwatch(struct queue_feed *feed)
{
    feed->watching = false;
    let_watchers_go(feed, false);
    unsubscribe(feed, "adm", "");
}

/* ---- life ---- */

/* Subscribes again: the holder's name is part of the channels' names. */
static void renamed(struct queue *queue, const char *former)
{
    struct queue_feed *feed = queue->feed;
    bool up = feed && redis_is_up(feed->subscriber);
    for (size_t i = 0; feed && i < feed->channel_count; i++) {
        struct channel *channel = &feed->channels[i];
        if (strcmp(channel->name, former) != 0)
            continue;
        unsubscribe(feed, channel->kind, former);
        snprintf(channel->name, sizeof channel->name, "%s", queue->holder);
        if (up)
            subscribe(feed, channel->fn, feed, channel->kind, channel->name);
    }
    if (feed == NULL || !queue->config.hub)
        return;
    unsubscribe(feed, "hub:", former);
    feed->subscribed = false;
    if (up)
        subscribe_hub(feed);
}

void queue_feed_up(struct queue_feed *feed)
{
    for (size_t i = 0; i < feed->channel_count; i++)
        subscribe(feed, feed->channels[i].fn, feed, feed->channels[i].kind, feed->channels[i].name);
    if (feed->watching)
        subscribe(feed, on_admin, feed, "adm", "");
    if (feed->queue->config.hub)
        subscribe_hub(feed);
}

static void say_alive(struct queue_feed *feed)
{
    if (clock_mono_ms() - feed->alive_ms > SILENCE_MS && feed->subscribed)
        attach_all(feed);
    feed->alive_ms = clock_mono_ms();
    struct op *op = op_new(feed->queue, FUNCTION("alive"), NULL, NOBODY, NULL);
    op_retention(op);
    if (feed->queue->config.owner_bytes)
        words_number(&op->words, feed->queue->config.owner_bytes);
}

static void on_tick(uv_timer_t *timer);

/* {ms until the next tick, steps of the clock, ms of the last one, whether the name is in doubt, epoch}.
 * Steps from before this hub's start are not reported. */
static void on_ticked(struct op *op, const redisReply *answer)
{
    struct queue_feed *feed = op->queue->feed;
    int64_t again_ms = reply_number(answer, 0), steps = reply_number(answer, 1);
    if (feed == NULL || reply_count(answer) < 5)
        return;
    note_epoch(feed, reply_text(answer, 4));
    if (again_ms)
        uv_timer_start(feed->timer, on_tick, (uint64_t)again_ms, TICK_MS);
    if (feed->steps >= 0 && steps > feed->steps) {
        metric_add(METRIC_CLOCK_STEPS, (uint64_t)(steps - feed->steps));
        log_warn("time made a step: everything stood still, or Redis' clock was set", "ms",
                 LOG_NUM(reply_number(answer, 2)));
    }
    feed->steps = steps;
    if (reply_number(answer, 3))
        queue_claim_again(op->queue);
}

static void on_tick(uv_timer_t *timer)
{
    struct queue_feed *feed = timer->data;
    if (!redis_is_up(feed->queue->redis))
        return;
    feed->ticks++;
    if (feed->watching && feed->ticks % WATCH_TICKS == 0)
        call_watch(feed, NULL, NULL);
    if (!feed->queue->config.hub)
        return;
    op_retention(op_new(feed->queue, FUNCTION("tick"), on_ticked, NOBODY, NULL));
    if (feed->ticks % ALIVE_TICKS == 0)
        say_alive(feed);
}

bool queue_is_heard(const struct queue *queue)
{
    return queue->feed == NULL || redis_is_up(queue->feed->subscriber);
}

struct queue_feed *queue_feed_new(struct queue *queue, struct redis *subscriber,
                                  struct queue_feed_hooks hooks)
{
    struct queue_feed *feed = xcalloc(1, sizeof *feed);
    feed->queue = queue;
    feed->subscriber = subscriber;
    feed->hooks = hooks;
    feed->ticks = ALIVE_TICKS - 1; /* soon: others learn from it what this hub allows */
    list_init(&feed->watchers);
    queue->feed = feed;
    queue->tell_logged = tell_logged;
    queue->renewed = renewed;
    queue->renamed = renamed;
    feed->alive_ms = clock_mono_ms();
    feed->steps = -1;
    feed->timer = loop_timer(queue->loop, feed);
    uv_timer_start(feed->timer, on_tick, TICK_MS, TICK_MS);
    uv_unref((uv_handle_t *)feed->timer);
    return feed;
}

void queue_feed_free(struct queue_feed **feed_at)
{
    struct queue_feed *feed = *feed_at;
    if (feed == NULL)
        return;
    *feed_at = NULL;
    feed->queue->feed = NULL;
    for (struct table_node *node; (node = table_any(&feed->owners)) != NULL;)
        remove_owner(feed, container_of(node, struct feed_owner, node));
    table_free(&feed->owners);
    for (size_t i = 0; i < feed->channel_count; i++)
        unsubscribe(feed, feed->channels[i].kind, feed->channels[i].name);
    unsubscribe(feed, "hub:", feed->queue->holder);
    unsubscribe(feed, "adm", "");
    for (struct list *node; (node = list_pop(&feed->watchers)) != NULL;)
        free(container_of(node, struct watcher, node));
    loop_close(feed->timer);
    free(feed);
}
