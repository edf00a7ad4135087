/* Owners: who listens, the cursor of what was delivered, order, gaps, linger; see owners.h. Loop thread
 * only. Never reads the log or the feed itself: that is behind struct owner_source. */
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/owners/owners_private.h"

#include <stdio.h>

static struct member *member_at(struct list *node)
{
    return container_of(node, struct member, node);
}

static bool started(const struct member *member)
{
    return member->state == MEMBER_CATCHING || member->state == MEMBER_LIVE;
}

struct owner *owner_find(const struct owners *owners, const char *id)
{
    struct table_node *node = table_find(&owners->by_id, span_of(id));
    return node ? container_of(node, struct owner, node) : NULL;
}

bool owner_held(const struct owners *owners, const char *task_id)
{
    return owners->holds.count && task_id[0] && table_find(&owners->holds, span_of(task_id));
}

void owner_wake(struct owner *owner)
{
    struct owners *owners = owner->owners;
    if (!list_empty(&owner->timed))
        return;
    list_append(&owners->timed, &owner->timed);
    if (!uv_is_active((uv_handle_t *)&owners->fast))
        uv_timer_start(&owners->fast, owners->fast.timer_cb, OWNER_TICK_MS, OWNER_TICK_MS);
}

/* ---- delivery --------------------------------------------------------------------------------- */
static void remember_recent(struct owner *owner, struct event *event)
{
    if (owner->catching == 0)
        return;
    if (owner->recent == NULL)
        owner->recent = xcalloc(OWNER_RECENT, sizeof(struct event *));
    struct event **place = &owner->recent[owner->recent_next++ % OWNER_RECENT];
    event_unref(place);
    *place = event_ref(event);
    if (owner->recent_count < OWNER_RECENT)
        owner->recent_count++;
}

static struct seen *seen_of(struct owner *owner)
{
    if (owner->seen == NULL)
        owner->seen = seen_new();
    owner->seen_s = OWNER_SEEN_S;
    return owner->seen;
}

void owner_note(struct owner *owner, const struct event *event)
{
    if (event->task_id[0])
        seen_note(seen_of(owner), event);
}

/* One logged event to one member; `event` is NULL if it was told and not built. */
static void give(struct member *member, uint64_t seq, struct event *event, uint64_t told)
{
    if (member->state == MEMBER_CATCHING && member->serial == told)
        member_note_told(member, seq);
    if (member->state != MEMBER_LIVE || seq <= member->cursor)
        return;
    if (member->serial == told) {
        member->ops->told(member->to, seq);
    } else if (event) {
        member->ops->event(member->to, event);
    } else {
        member_catch_up(member);
        return;
    }
    member->cursor = seq;
}

/* The event with seq delivered + 1 goes out. */
static void deliver(struct owner *owner, uint64_t seq, struct event *event, uint64_t told)
{
    owner->delivered = seq;
    if (event) {
        owner_note(owner, event);
        remember_recent(owner, event);
    }
    list_for_each_safe (node, after, &owner->members)
        give(member_at(node), seq, event, told);
}

static void deliver_latest(struct owner *owner, struct event *event)
{
    if (!seen_admit(seen_of(owner), event))
        return;
    list_for_each (node, &owner->members)
        if (member_at(node)->state == MEMBER_LIVE)
            member_at(node)->ops->event(member_at(node)->to, event);
}

/* Delivers what waits, as far as it is in order and not held. */
static void pump(struct owner *owner)
{
    struct owners *owners = owner->owners;
    list_for_each_safe (node, after, &owner->pending.items) {
        struct pending_item *item = container_of(node, struct pending_item, node);
        bool held = item->event && owner_held(owners, item->event->task_id);
        if (item->seq == 0) {
            if (held)
                continue;
            deliver_latest(owner, item->event);
        } else if (item->seq > owner->delivered) {
            if (item->seq != owner->delivered + 1 || held)
                break;
            deliver(owner, item->seq, item->event, item->told);
        }
        pending_drop(&owner->pending, item);
    }
    owner_check_gap(owner);
}

static void take_latest(struct owner *owner, struct event *event)
{
    if (owner->started == 0 || !owner->attached)
        return;
    if (!owner_held(owner->owners, event->task_id) && pending_last_of(&owner->pending, event) == NULL)
        deliver_latest(owner, event);
    else
        pending_put_latest(&owner->pending, owner->delivered, event);
}

/* A seq at or below the cursor came: a double, or the log began anew (its data was lost while the
 * connection to it stayed). The log's position tells; asked at most once a second. */
static void doubt(struct owner *owner)
{
    if (owner->doubted)
        return;
    owner->doubted = true;
    log_debug("an event came twice, or the log began anew", "owner", owner->id);
    owner_attach(owner);
}

/* A logged event, or its bare seq, in any order. */
static void take(struct owner *owner, uint64_t seq, struct event *event, uint64_t told)
{
    if (seq > owner->known)
        owner->known = seq;
    if (!owner->attached)
        return;
    if (seq <= owner->delivered) {
        doubt(owner);
        return;
    }
    if (owner->started == 0) {
        owner_jump(owner);
        return;
    }
    bool next = seq == owner->delivered + 1 && owner->pending.count == 0;
    if (next && !(event && owner_held(owner->owners, event->task_id))) {
        deliver(owner, seq, event, told);
        owner_check_gap(owner);
        return;
    }
    pending_put(&owner->pending, seq, event, told);
    pump(owner);
}

static uint64_t serial_of(const struct member *member)
{
    return member ? member->serial : 0;
}

void owners_event(struct owners *owners, const char *id, struct event *event, const struct member *except)
{
    struct owner *owner = owner_find(owners, id);
    if (owner == NULL)
        return;
    if (event->seq)
        take(owner, event->seq, event, serial_of(except));
    else
        take_latest(owner, event);
}

void owners_told(struct owners *owners, const char *id, uint64_t seq, const struct member *told)
{
    struct owner *owner = owner_find(owners, id);
    if (owner)
        take(owner, seq, NULL, serial_of(told));
}

bool owners_listening(struct owners *owners, const char *id, const struct member *except)
{
    struct owner *owner = owner_find(owners, id);
    if (owner == NULL)
        return false;
    list_for_each (node, &owner->members)
        if (started(member_at(node)) && member_at(node) != except)
            return true;
    return false;
}

/* ---- holds ------------------------------------------------------------------------------------- */
void owners_hold(struct owners *owners, const char *id, const char *task_id)
{
    struct owner *owner = owner_find(owners, id);
    if (owner == NULL || owner_held(owners, task_id))
        return;
    struct hold *hold = xcalloc(1, sizeof *hold);
    memcpy(hold->task_id, task_id, strnlen(task_id, ID_SIZE - 1));
    hold->node.key = span_of(hold->task_id);
    hold->owner = owner;
    table_insert(&owners->holds, &hold->node);
    list_append(&owner->holds, &hold->of_owner);
}

static void hold_free(struct owners *owners, struct hold *hold)
{
    table_remove(&owners->holds, &hold->node);
    list_remove(&hold->of_owner);
    free(hold);
}

void owners_release(struct owners *owners, const char *id, const char *task_id)
{
    (void)id; /* a task id names one owner */
    struct table_node *node = table_find(&owners->holds, span_of(task_id));
    if (node == NULL)
        return;
    struct hold *hold = container_of(node, struct hold, node);
    struct owner *owner = hold->owner;
    hold_free(owners, hold);
    if (owner->pending.count)
        pump(owner);
}

/* ---- gaps --------------------------------------------------------------------------------------- */
void owner_check_gap(struct owner *owner)
{
    uint64_t first = pending_first_seq(&owner->pending);
    bool gap =
        owner->attached && owner->started && owner->delivered < owner->known && first != owner->delivered + 1;
    if (!gap)
        owner->gap_ticks = 0;
    else if (owner->gap_ticks == 0)
        owner->gap_ticks = 1;
    if (gap)
        owner_wake(owner);
}

void owner_jump(struct owner *owner)
{
    pending_clear(&owner->pending);
    owner->delivered = owner->known;
    owner->gap_ticks = 0;
}

void owner_reset(struct owner *owner, const char *reason)
{
    list_for_each (node, &owner->members)
        if (member_at(node)->state != MEMBER_JOINING) /* one that joined will start where it was told */
            member_at(node)->ops->lost(member_at(node)->to, reason);
    pending_clear(&owner->pending);
}

static void on_heal(void *ctx, const struct owner_replay *replay)
{
    struct owner *owner = ctx;
    owner->calls--;
    owner->healing = false;
    if (!replay->ok) {
        owner->heal_wait = OWNER_RETRY_TICKS;
        return;
    }
    metric_add(METRIC_REPLAYED, replay->count);
    uint64_t before = owner->delivered;
    for (size_t i = 0; i < replay->count && !replay->gap; i++)
        take(owner, replay->events[i]->seq, replay->events[i], 0);
    if (owner->gap_ticks && (replay->gap || (replay->count == 0 && owner->delivered == before))) {
        owner_reset(owner, "events lost");
        owner_jump(owner);
    }
    if (owner->gap_ticks)
        owner->gap_ticks = OWNER_GAP_TICKS_IN_FLIGHT; /* the next page at the next tick */
}

static void heal(struct owner *owner)
{
    struct owner_source *source = &owner->owners->source;
    owner->healing = true;
    owner->calls++;
    source->replay(source->ctx, owner->id, owner->delivered, OWNER_PAGE, on_heal, owner);
}

/* ---- time --------------------------------------------------------------------------------------- */
/* One tick of an owner that waits for something; false if it does not any more. */
static bool tick_owner(struct owner *owner)
{
    if (owner->heal_wait)
        owner->heal_wait--;
    if (owner->gap_ticks) {
        unsigned limit = list_empty(&owner->holds) ? OWNER_GAP_TICKS : OWNER_GAP_TICKS_IN_FLIGHT;
        if (owner->gap_ticks++ >= limit && !owner->healing && owner->heal_wait == 0)
            heal(owner);
    }
    list_for_each_safe (node, after, &owner->members) {
        struct member *member = member_at(node);
        if (member->wait_ticks)
            member->wait_ticks--;
        else if (member->state == MEMBER_CATCHING)
            member_chase(member);
        else if (member->state == MEMBER_JOINING && !member->reading && !owner->attaching)
            member_decide(member);
    }
    if (owner->gap_ticks || owner->catching)
        return true;
    list_for_each (node, &owner->members)
        if (member_at(node)->state == MEMBER_JOINING)
            return true;
    return false;
}

void owners_tick(struct owners *owners)
{
    struct list now;
    list_init(&now);
    list_splice(&now, &owners->timed);
    for (struct list *node; (node = list_pop(&now));) {
        struct owner *owner = container_of(node, struct owner, timed);
        owner->calls++; /* it shall outlive its own tick */
        bool more = tick_owner(owner);
        owner->calls--;
        if (more && list_empty(&owner->timed))
            list_append(&owners->timed, &owner->timed);
    }
    if (list_empty(&owners->timed))
        uv_timer_stop(&owners->fast);
}

void owners_tick_second(struct owners *owners)
{
    list_for_each_safe (node, after, &owners->all) {
        struct owner *owner = container_of(node, struct owner, all);
        owner->doubted = false;
        if (owner->seen && --owner->seen_s == 0) {
            free(owner->seen);
            owner->seen = NULL;
        }
        if (list_empty(&owner->members) && (owner->linger_s == 0 || --owner->linger_s == 0) &&
            owner->calls == 0)
            owner_free(owner);
    }
}

void owner_free(struct owner *owner)
{
    struct owners *owners = owner->owners;
    owners->source.detach(owners->source.ctx, owner->id); /* an attach that failed may have been heard */
    while (!list_empty(&owner->holds))
        hold_free(owners, container_of(owner->holds.next, struct hold, of_owner));
    pending_clear(&owner->pending);
    for (size_t i = 0; i < owner->recent_count; i++)
        event_unref(&owner->recent[i]);
    free(owner->recent);
    free(owner->seen);
    list_remove(&owner->all);
    list_remove(&owner->timed);
    table_remove(&owners->by_id, &owner->node);
    free(owner);
}

/* ---- the whole ----------------------------------------------------------------------------------- */
void owners_reconnected(struct owners *owners)
{
    list_for_each_safe (node, after, &owners->all) {
        struct owner *owner = container_of(node, struct owner, all);
        owner->heal_wait = 0;
        list_for_each (m, &owner->members)
            member_at(m)->wait_ticks = 0;
        if (!list_empty(&owner->members))
            owner_attach(owner);
        else if (owner->calls == 0)
            owner_free(owner);
    }
}

static void on_fast(uv_timer_t *timer)
{
    owners_tick(timer->data);
}

static void on_slow(uv_timer_t *timer)
{
    owners_tick_second(timer->data);
}

struct owners *owners_new(struct loop *loop, struct owner_source source)
{
    struct owners *owners = xcalloc(1, sizeof *owners);
    owners->loop = loop;
    owners->source = source;
    list_init(&owners->all);
    list_init(&owners->timed);
    uv_timer_init(&loop->uv, &owners->fast);
    uv_timer_init(&loop->uv, &owners->slow);
    owners->fast.data = owners->slow.data = owners;
    owners->fast.timer_cb = on_fast;
    owners->open_timers = 2;
    uv_timer_start(&owners->slow, on_slow, 1000, 1000);
    uv_unref((uv_handle_t *)&owners->slow);
    return owners;
}

static void on_timer_closed(uv_handle_t *timer)
{
    struct owners *owners = timer->data;
    if (--owners->open_timers == 0)
        free(owners);
}

void owners_free(struct owners **owners)
{
    struct owners *dying = *owners;
    if (dying == NULL)
        return;
    *owners = NULL;
    while (!list_empty(&dying->all)) {
        struct owner *owner = container_of(dying->all.next, struct owner, all);
        while (!list_empty(&owner->members))
            owners_leave(member_at(owner->members.next));
        owner_free(owner);
    }
    table_free(&dying->by_id);
    table_free(&dying->holds);
    uv_close((uv_handle_t *)&dying->fast, on_timer_closed);
    uv_close((uv_handle_t *)&dying->slow, on_timer_closed);
}

/* A replay read of one member. */
struct member_read {
    struct owner *owner;
    struct member *member; /* NULL: it has left */
};

struct attach_call {
    struct owner *owner;
    uint64_t floor; /* the cursor when the question was sent */
};

static struct owner *owner_new(struct owners *owners, const char *id)
{
    size_t n = strlen(id);
    struct owner *owner = xcalloc(1, sizeof *owner + n + 1);
    memcpy(owner->id, id, n + 1);
    owner->owners = owners;
    owner->node.key = (struct span){owner->id, n};
    list_init(&owner->members);
    list_init(&owner->holds);
    list_init(&owner->timed);
    pending_init(&owner->pending);
    list_append(&owners->all, &owner->all);
    table_insert(&owners->by_id, &owner->node);
    return owner;
}

/* ---- members ------------------------------------------------------------------------------------- */
static void free_page(struct member *member)
{
    for (size_t i = member->page_at; i < member->page_count; i++)
        event_unref(&member->page[i]);
    free(member->page);
    member->page = NULL;
    member->page_at = member->page_count = 0;
}

static void free_told(struct member *member)
{
    free(member->told);
    member->told = NULL;
    member->told_at = member->told_count = member->told_room = 0;
}

static void end_catching(struct member *member)
{
    struct owner *owner = member->owner;
    free_page(member);
    free_told(member);
    if (--owner->catching)
        return;
    for (size_t i = 0; i < owner->recent_count; i++)
        event_unref(&owner->recent[i]);
    free(owner->recent);
    owner->recent = NULL;
    owner->recent_count = owner->recent_next = 0;
}

struct member *member_new(const struct member_ops *ops, void *to)
{
    struct member *member = xcalloc(1, sizeof *member);
    list_init(&member->node);
    member->ops = ops;
    member->to = to;
    return member;
}

void member_free(struct member **member)
{
    owners_leave(*member);
    free(*member);
    *member = NULL;
}

void owners_leave(struct member *member)
{
    if (member == NULL || member->state == MEMBER_OUT)
        return;
    struct owner *owner = member->owner;
    if (member->state == MEMBER_CATCHING)
        end_catching(member);
    free_page(member);
    if (member->state >= MEMBER_CATCHING)
        owner->started--;
    if (member->reading)
        member->reading->member = NULL;
    member->reading = NULL;
    member->state = MEMBER_OUT;
    member->owner = NULL;
    list_remove(&member->node);
    if (owner->started == 0 && owner->attached)
        owner_jump(owner);
    if (list_empty(&owner->members))
        owner->linger_s = owner->attached ? OWNER_LINGER_S : 1;
}

void member_answer(struct member *member, enum owners_joined result)
{
    struct owner *owner = member->owner;
    owners_join_fn *fn = member->fn;
    void *ctx = member->ctx;
    struct owner_position at = {.ok = result != OWNERS_UNAVAILABLE, .head = owner->delivered};
    if (result == OWNERS_OK && member->resume.seq > at.head)
        at.head = member->resume.seq; /* another hub told it more than this one has seen yet */
    memcpy(at.epoch, owner->epoch, sizeof at.epoch);
    member->state = MEMBER_JOINED;
    if (result == OWNERS_UNAVAILABLE)
        owners_leave(member);
    else if (result == OWNERS_GAP)
        free_page(member);
    if (result == OWNERS_OK || result == OWNERS_GAP)
        metric_add(result == OWNERS_OK ? METRIC_RESUME_OK : METRIC_RESUME_GAP, 1);
    fn(ctx, result, &at);
}

/* Asked in ascending order, as events are given. */
static bool was_told(struct member *member, uint64_t seq)
{
    while (member->told_at < member->told_count && member->told[member->told_at] < seq)
        member->told_at++;
    return member->told_at < member->told_count && member->told[member->told_at] == seq;
}

void member_note_told(struct member *member, uint64_t seq)
{
    if (member->told_count == member->told_room) {
        member->told_room = member->told_room ? 2 * member->told_room : 8;
        member->told = xrealloc(member->told, member->told_room * sizeof *member->told);
    }
    member->told[member->told_count++] = seq;
}

/* ---- reading pages ------------------------------------------------------------------------------- */
static void page_arrived(struct member *member, const struct owner_replay *replay)
{
    bool joining = member->state == MEMBER_JOINING;
    if (!replay->ok) {
        if (joining)
            member_answer(member, OWNERS_UNAVAILABLE);
        else
            member->wait_ticks = OWNER_RETRY_TICKS;
        return;
    }
    if (replay->gap || replay->count == 0) { /* a read is made only when there is something to read */
        if (joining)
            member_answer(member, OWNERS_GAP);
        else
            member->ops->lost(member->to, "events lost");
        member->wait_ticks = OWNER_RETRY_TICKS;
        return;
    }
    metric_add(METRIC_REPLAYED, replay->count);
    member->page = xmalloc(replay->count * sizeof(struct event *));
    member->page_count = replay->count;
    member->page_at = 0;
    for (size_t i = 0; i < replay->count; i++) {
        member->page[i] = event_ref(replay->events[i]);
        owner_note(member->owner, replay->events[i]);
    }
    if (joining)
        member_answer(member, OWNERS_OK);
    else
        member_chase(member);
}

static void on_page(void *ctx, const struct owner_replay *replay)
{
    struct member_read *read = ctx;
    struct owner *owner = read->owner;
    struct member *member = read->member;
    free(read);
    owner->calls--;
    owner->owners->reads--;
    if (member) {
        member->reading = NULL;
        page_arrived(member, replay);
    }
}

/* Reads behind `after`; later, by the tick, if too many read already. */
static void read_page(struct member *member, uint64_t after)
{
    struct owner *owner = member->owner;
    struct owners *owners = owner->owners;
    owner_wake(owner);
    if (owners->reads >= OWNER_READS_MAX)
        return;
    struct member_read *read = xmalloc(sizeof *read);
    *read = (struct member_read){owner, member};
    member->reading = read;
    owners->reads++;
    owner->calls++;
    owners->source.replay(owners->source.ctx, owner->id, after, OWNER_PAGE, on_page, read);
}

/* ---- joining --------------------------------------------------------------------------------------- */
void member_decide(struct member *member)
{
    struct owner *owner = member->owner;
    const struct owners_resume *want = &member->resume;
    if (want->epoch[0] == '\0') {
        member_answer(member, OWNERS_NONE);
    } else if (strcmp(want->epoch, owner->epoch) != 0) {
        member_answer(member, OWNERS_GAP);
    } else if (want->seq > owner->known) {
        if (member->fresh) {
            member_answer(member, OWNERS_GAP);
            return;
        }
        member->fresh = true;
        owner_attach(owner);
    } else if (want->seq >= owner->delivered) {
        member_answer(member, OWNERS_OK);
    } else {
        read_page(member, want->seq);
    }
}

/* Everybody who waits for a position gets an answer, or asks further. */
static void decide_waiting(struct owner *owner, bool ok)
{
    list_for_each_safe (node, after, &owner->members) {
        struct member *member = container_of(node, struct member, node);
        if (member->state != MEMBER_JOINING || member->reading)
            continue;
        if (!ok) {
            member_answer(member, OWNERS_UNAVAILABLE);
            continue;
        }
        member->fresh = true;
        member_decide(member);
    }
}

static void on_position(void *ctx, const struct owner_position *position)
{
    struct attach_call *call = ctx;
    struct owner *owner = call->owner;
    uint64_t floor = call->floor;
    free(call);
    owner->attaching = false;
    if (position->ok) {
        bool lost = owner->attached && (strcmp(position->epoch, owner->epoch) != 0 || position->head < floor);
        if (lost) {
            owner_reset(owner, "data set replaced");
            owner->known = owner->delivered = position->head;
        }
        snprintf(owner->epoch, sizeof owner->epoch, "%s", position->epoch);
        if (position->head > owner->known)
            owner->known = position->head;
        owner->attached = true;
        if (owner->started == 0)
            owner_jump(owner);
        owner_check_gap(owner);
    }
    decide_waiting(owner, position->ok);
    owner->calls--;
}

void owner_attach(struct owner *owner)
{
    if (owner->attaching)
        return;
    struct attach_call *call = xmalloc(sizeof *call);
    *call = (struct attach_call){owner, owner->delivered};
    owner->attaching = true;
    owner->calls++;
    struct owner_source *source = &owner->owners->source;
    source->attach(source->ctx, owner->id, on_position, call);
}

void owners_join(struct owners *owners, const char *id, struct member *member, struct owners_resume resume,
                 owners_join_fn *fn, void *ctx)
{
    owners_leave(member);
    struct owner *owner = owner_find(owners, id);
    if (owner == NULL)
        owner = owner_new(owners, id);
    if (member->serial == 0)
        member->serial = ++owners->serial;
    member->owner = owner;
    member->state = MEMBER_JOINING;
    member->fresh = false;
    member->wait_ticks = 0;
    member->cursor = 0;
    member->resume = resume;
    member->resume.epoch[sizeof resume.epoch - 1] = '\0';
    member->fn = fn;
    member->ctx = ctx;
    list_append(&owner->members, &member->node);
    owner_wake(owner);
    if (!owner->attached)
        owner_attach(owner);
    else if (!owner->attaching)
        member_decide(member);
}

/* ---- catching up ------------------------------------------------------------------------------------ */
void member_catch_up(struct member *member)
{
    member->state = MEMBER_CATCHING;
    member->owner->catching++;
    owner_wake(member->owner);
}

static void give_replayed(struct member *member, struct event *event)
{
    if (event->seq <= member->cursor)
        return;
    if (event->seq > member->owner->known)
        member->owner->known = event->seq;
    if (was_told(member, event->seq))
        member->ops->told(member->to, event->seq);
    else
        member->ops->event(member->to, event);
    member->cursor = event->seq;
}

/* The delivered event behind the cursor, if it is still at hand. */
static struct event *recent_next(const struct member *member)
{
    const struct owner *owner = member->owner;
    for (size_t i = 0; i < owner->recent_count; i++)
        if (owner->recent[i]->seq == member->cursor + 1)
            return owner->recent[i];
    return NULL;
}

/* The next event to give, NULL if it must be read first. A page's events are taken off it. */
static struct event *next_event(struct member *member)
{
    if (member->page_at < member->page_count)
        return event_ref(member->page[member->page_at]);
    struct event *recent = recent_next(member);
    return recent ? event_ref(recent) : NULL;
}

void member_chase(struct member *member)
{
    struct owner *owner = member->owner;
    while (!member->reading) {
        bool level = member->page_at == member->page_count && member->cursor >= owner->delivered;
        if (level) {
            end_catching(member);
            member->state = MEMBER_LIVE;
            owner_check_gap(owner);
            return;
        }
        struct event *event = next_event(member);
        if (event == NULL) {
            free_page(member);
            read_page(member, member->cursor);
            return;
        }
        bool wait = member->ops->slow(member->to) || owner_held(owner->owners, event->task_id);
        if (!wait) {
            give_replayed(member, event);
            if (member->page_at < member->page_count)
                event_unref(&member->page[member->page_at++]);
        }
        event_unref(&event);
        if (wait)
            return;
    }
}

void owners_start(struct member *member, uint64_t seq)
{
    if (member == NULL || member->state != MEMBER_JOINED)
        return;
    member->cursor = seq;
    member->ops->told(member->to, seq);
    member->owner->started++;
    member_catch_up(member);
    member_chase(member);
}
