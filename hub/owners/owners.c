/* SPDX-License-Identifier: MIT */
/* Delivers each owner's log on this hub: its members, the cursor, order, gaps, joining and catching up; see
 * owners.h. Loop thread only. Never reads the log or the feed itself: struct owner_source does. */
#include "hub/base/list.h"
#include "hub/base/log.h"
#include "hub/base/loop.h"
#include "hub/base/metrics.h"
#include "hub/base/table.h"
#include "hub/owners/owners_private.h"
#include "hub/owners/pending.h"

enum member_state {
    MEMBER_OUT,      /* has no owner */
    MEMBER_JOINING,  /* waits for a position or the first page */
    MEMBER_JOINED,   /* answered; owners_start() is still to come */
    MEMBER_CATCHING, /* reads the log after its own cursor */
    MEMBER_LIVE,     /* gets every event as it is delivered */
    MEMBER_STATES,
};

struct catch_up { /* state that a member needs only until it is live */
    struct owners_resume resume;
    owners_join_fn *fn;
    void *ctx;
    bool fresh; /* the position was read for this join */
    unsigned wait_ticks;
    struct member_read *reading; /* the read in flight, NULL = none */
    struct event **page;         /* of the log, from page_at on */
    size_t page_at, page_count;
    struct buf replied; /* seqs (uint64_t) that replies have reported meanwhile, ascending */
    size_t replied_at;  /* offset of the first seq in `replied` that was not used yet */
};

struct member {
    struct list node;
    struct owner *owner;
    const struct member_ops *ops;
    void *to;
    uint64_t serial; /* identifies the member, 0 = has never joined */
    uint64_t cursor; /* the seq up to which events were delivered */
    enum member_state state;
    struct catch_up *catch_up; /* NULL in MEMBER_OUT and MEMBER_LIVE */
};

struct member_read { /* a replay read of one member */
    struct owner *owner;
    struct member *member; /* NULL: the member has left */
};

struct owner {
    struct table_node node;
    struct list all;   /* in owners->all */
    struct list timed; /* in owners->timed while a gap or a member needs ticks */
    struct owners *owners;
    struct list members, holds;
    struct pending pending;
    uint64_t delivered;                    /* the cursor: the seq up to which events were delivered */
    uint64_t newest;                       /* the highest seq known to be logged */
    uint16_t mark, newest_mark;            /* of these two events; 0 = not known */
    uint64_t gap_from;                     /* `delivered` at the time the gap's last page was asked for */
    uint64_t asked_at;                     /* `delivered` at the time the position under way was asked for */
    unsigned member_counts[MEMBER_STATES]; /* members in each state, except MEMBER_OUT */
    unsigned linger_s;
    unsigned calls;     /* calls of the source under way */
    unsigned gap_ticks; /* 0 = no gap */
    unsigned gap_wait_ticks;
    bool attached;    /* the position of the log is known, and its events arrive */
    bool attaching;   /* a call of source.attach is under way; one at a time */
    bool rechecked;   /* source.attach was called in this second because of a repeated seq */
    bool gap_reading; /* the gap is being read from the log */
    char epoch[24];
    char id[];
};

struct hold {
    struct table_node node;
    struct list of_owner;
    struct owner *owner;
    char task_id[ID_SIZE];
};

struct owners {
    struct owner_source source;
    struct progress *progress;
    struct table by_id, holds;
    struct list all, timed;
    unsigned reads;                        /* reads of members under way */
    uint64_t serial;                       /* serial of the newest member */
    uv_timer_t *tick_timer, *second_timer; /* every tick for owners that wait; every second for all owners */
};

static struct member *member_at(struct list *node)
{
    return container_of(node, struct member, node);
}

static struct owner *find_owner(const struct owners *owners, const char *id)
{
    struct table_node *node = table_find(&owners->by_id, span_of(id));
    return node ? container_of(node, struct owner, node) : NULL;
}

/* How many members get events, live or while they catch up. */
static unsigned started_count(const struct owner *owner)
{
    return owner->member_counts[MEMBER_CATCHING] + owner->member_counts[MEMBER_LIVE];
}

static bool is_held(const struct owners *owners, const char *task_id)
{
    return owners->holds.count && task_id[0] && table_find(&owners->holds, span_of(task_id));
}

static void on_tick(uv_timer_t *timer);

/* Lets the fast timer visit the owner while it waits for something. */
static void start_ticks(struct owner *owner)
{
    struct owners *owners = owner->owners;
    if (!list_empty(&owner->timed))
        return;
    list_append(&owners->timed, &owner->timed);
    if (!uv_is_active((uv_handle_t *)owners->tick_timer))
        uv_timer_start(owners->tick_timer, on_tick, OWNER_TICK_MS, OWNER_TICK_MS);
}

/* Starts or stops the ticks of a gap. */
static void check_gap(struct owner *owner)
{
    bool gap = owner->attached && started_count(owner) && owner->delivered < owner->newest &&
               pending_first_seq(&owner->pending) != owner->delivered + 1;
    if (!gap)
        owner->gap_ticks = 0;
    else if (owner->gap_ticks == 0)
        owner->gap_ticks = 1;
    if (gap)
        start_ticks(owner);
}

/* Notes that the log has this event. */
static void note_logged(struct owner *owner, uint64_t seq, uint16_t mark)
{
    if (seq > owner->newest || (seq == owner->newest && owner->newest_mark == 0))
        owner->newest_mark = mark;
    if (seq > owner->newest)
        owner->newest = seq;
    if (seq == owner->delivered && owner->mark == 0)
        owner->mark = mark;
}

/* Whether two events of the same seq belong to different histories. */
static bool is_misfit(uint16_t mark, uint16_t other)
{
    return mark && other && mark != other;
}

/* Moves the cursor to the newest event: no member needs the ones before. */
static void skip_to_newest(struct owner *owner)
{
    pending_clear(&owner->pending);
    owner->delivered = owner->newest;
    owner->mark = owner->newest_mark;
    owner->gap_ticks = 0;
}

/* ---- pages and replies of a member that catches up -------------------------------------------------- */
/* The page's next event, NULL at its end. */
static struct event *page_next(const struct catch_up *catch_up)
{
    return catch_up->page_at < catch_up->page_count ? catch_up->page[catch_up->page_at] : NULL;
}

static void page_free(struct catch_up *catch_up)
{
    while (page_next(catch_up))
        event_unref(&catch_up->page[catch_up->page_at++]);
    free(catch_up->page);
    catch_up->page = NULL;
    catch_up->page_at = catch_up->page_count = 0;
}

static void catch_up_free(struct catch_up **catch_up)
{
    struct catch_up *over = *catch_up;
    if (over == NULL)
        return;
    *catch_up = NULL;
    if (over->reading)
        over->reading->member = NULL;
    page_free(over);
    buf_free(&over->replied);
    free(over);
}

/* Whether a reply has reported this seq. Call with ascending seqs. */
static bool was_replied(struct catch_up *catch_up, uint64_t seq)
{
    uint64_t next = 0;
    for (; catch_up->replied_at < catch_up->replied.len; catch_up->replied_at += sizeof next) {
        memcpy(&next, catch_up->replied.data + catch_up->replied_at, sizeof next);
        if (next >= seq)
            break;
    }
    return next == seq;
}

/* ---- members ---------------------------------------------------------------------------------------- */
static void member_become(struct member *member, enum member_state to)
{
    static const unsigned moves[] = {
        [MEMBER_OUT] = 1u << MEMBER_JOINING,
        [MEMBER_JOINING] = 1u << MEMBER_JOINED | 1u << MEMBER_OUT,
        [MEMBER_JOINED] = 1u << MEMBER_CATCHING | 1u << MEMBER_OUT,
        [MEMBER_CATCHING] = 1u << MEMBER_LIVE | 1u << MEMBER_OUT,
        [MEMBER_LIVE] = 1u << MEMBER_CATCHING | 1u << MEMBER_OUT,
    };
    if (!(moves[member->state] & 1u << to))
        abort();
    if (to == MEMBER_LIVE || to == MEMBER_OUT)
        catch_up_free(&member->catch_up);
    else if (member->catch_up == NULL)
        member->catch_up = xcalloc(1, sizeof *member->catch_up);
    member->owner->member_counts[member->state]--;
    member->owner->member_counts[to]++;
    member->state = to;
    if (to == MEMBER_JOINING || to == MEMBER_CATCHING)
        start_ticks(member->owner);
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
    member_become(member, MEMBER_OUT);
    member->owner = NULL;
    list_remove(&member->node);
    if (started_count(owner) == 0 && owner->attached)
        skip_to_newest(owner);
    if (list_empty(&owner->members))
        owner->linger_s = owner->attached ? OWNER_LINGER_S : 1;
}

/* ---- delivery --------------------------------------------------------------------------------------- */
/* Delivers a logged event to a member; `event` is NULL if a reply reports it and it was not built. */
static void deliver_to_member(struct member *member, uint64_t seq, struct event *event, uint64_t replied_to)
{
    bool replied = member->serial == replied_to;
    if (member->state == MEMBER_CATCHING && replied)
        buf_append(&member->catch_up->replied, &seq, sizeof seq);
    if (member->state != MEMBER_LIVE || seq <= member->cursor)
        return;
    if (replied) {
        member->ops->skip(member->to, seq);
    } else if (event) {
        member->ops->event(member->to, event);
    } else {
        member_become(member, MEMBER_CATCHING);
        return;
    }
    member->cursor = seq;
}

/* Delivers the event with seq delivered + 1. */
static void deliver(struct owner *owner, uint64_t seq, struct event *event, uint64_t replied_to)
{
    owner->delivered = seq;
    owner->mark = event ? event->mark : seq == owner->newest ? owner->newest_mark : 0;
    if (event)
        progress_note(owner->owners->progress, event);
    list_for_each_safe (node, after, &owner->members)
        deliver_to_member(member_at(node), seq, event, replied_to);
}

static void deliver_latest(struct owner *owner, struct event *event)
{
    if (!progress_admit(owner->owners->progress, event))
        return;
    list_for_each (node, &owner->members)
        if (member_at(node)->state == MEMBER_LIVE)
            member_at(node)->ops->event(member_at(node)->to, event);
}

/* Delivers pending events as far as they are in order and not held. */
static void pump(struct owner *owner)
{
    list_for_each_safe (node, after, &owner->pending.items) {
        struct pending_item *item = container_of(node, struct pending_item, node);
        bool waits = item->event && is_held(owner->owners, item->event->task_id);
        if (item->seq == 0) {
            if (waits)
                continue;
            deliver_latest(owner, item->event);
        } else if (item->seq > owner->delivered) {
            if (item->seq != owner->delivered + 1 || waits)
                break;
            deliver(owner, item->seq, item->event, item->replied_to);
        }
        pending_drop(&owner->pending, item);
    }
    check_gap(owner);
}

static void receive_latest(struct owner *owner, struct event *event)
{
    if (started_count(owner) == 0 || !owner->attached)
        return;
    if (!is_held(owner->owners, event->task_id) && pending_last_of(&owner->pending, event) == NULL)
        deliver_latest(owner, event);
    else
        pending_put_latest(&owner->pending, owner->delivered, event);
}

static void ask_position(struct owner *owner);

/* Handles a seq at or below the cursor: a duplicate, or the log was restarted (its data was lost while the
 * connection to Redis stayed). Reads the position to find out; at most once a second. */
static void recheck_position(struct owner *owner)
{
    if (owner->rechecked)
        return;
    owner->rechecked = true;
    log_debug("an event came twice, or the log began anew", "owner", owner->id);
    ask_position(owner);
}

/* Receives a logged event, or only its seq, in any order. */
static void receive(struct owner *owner, uint64_t seq, struct event *event, uint64_t replied_to)
{
    note_logged(owner, seq, event ? event->mark : 0);
    if (!owner->attached)
        return;
    if (seq <= owner->delivered) {
        recheck_position(owner);
        return;
    }
    if (started_count(owner) == 0) {
        skip_to_newest(owner);
        return;
    }
    bool next = seq == owner->delivered + 1 && owner->pending.count == 0;
    if (next && !(event && is_held(owner->owners, event->task_id))) {
        deliver(owner, seq, event, replied_to);
        check_gap(owner);
        return;
    }
    pending_put(&owner->pending, seq, event, replied_to);
    pump(owner);
}

void owners_event(struct owners *owners, const char *id, struct event *event)
{
    struct owner *owner = find_owner(owners, id);
    if (owner == NULL)
        return;
    if (event->seq)
        receive(owner, event->seq, event, 0);
    else
        receive_latest(owner, event);
}

void owners_news(struct owners *owners, const struct owner_news *news, const struct member *reader)
{
    struct owner *owner = find_owner(owners, news->owner);
    uint64_t replied_to = news->seq && reader ? reader->serial : 0;
    if (owner && (news->event || news->seq))
        receive(owner, news->event ? news->event->seq : news->seq, news->event, replied_to);
    if (news->held)
        owners_release(owners, news->task_id);
}

bool owners_listening(struct owners *owners, const char *id, const struct member *except)
{
    const struct owner *owner = find_owner(owners, id);
    if (owner == NULL)
        return false;
    bool self = except && except->owner == owner && except->state >= MEMBER_CATCHING;
    return started_count(owner) > (self ? 1 : 0);
}

/* ---- holds ------------------------------------------------------------------------------------------ */
void owners_hold(struct owners *owners, const char *id, const char *task_id)
{
    struct owner *owner = find_owner(owners, id);
    if (owner == NULL || is_held(owners, task_id))
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

void owners_release(struct owners *owners, const char *task_id)
{
    struct table_node *node = table_find(&owners->holds, span_of(task_id));
    if (node == NULL)
        return;
    struct hold *hold = container_of(node, struct hold, node);
    struct owner *owner = hold->owner;
    hold_free(owners, hold);
    if (owner->pending.count)
        pump(owner);
}

/* ---- gaps ------------------------------------------------------------------------------------------- */
/* Ends the members: events they have not got cannot be read. */
static void end_members(struct owner *owner, const char *reason)
{
    list_for_each (node, &owner->members)
        if (member_at(node)->state != MEMBER_JOINING) /* it will begin at the position it gets */
            member_at(node)->ops->lost(member_at(node)->to, reason);
    pending_clear(&owner->pending);
}

static void on_gap_read(void *ctx, const struct owner_replay *replay)
{
    struct owner *owner = ctx;
    owner->calls--;
    owner->gap_reading = false;
    if (!replay->ok) {
        owner->gap_wait_ticks = OWNER_RETRY_TICKS;
        return;
    }
    metric_add(METRIC_REPLAYED, replay->count);
    uint64_t before = owner->delivered;
    bool gap = replay->gap || (before == owner->gap_from && is_misfit(replay->mark, owner->mark));
    for (size_t i = 0; i < replay->count && !gap; i++)
        receive(owner, replay->events[i]->seq, replay->events[i], 0);
    if (owner->gap_ticks && (gap || (replay->count == 0 && owner->delivered == before))) {
        end_members(owner, "events lost");
        skip_to_newest(owner);
    }
    if (owner->gap_ticks)
        owner->gap_ticks = OWNER_GAP_TICKS_IN_FLIGHT; /* reads the next page at the next tick */
}

static void read_gap(struct owner *owner)
{
    struct owner_source *source = &owner->owners->source;
    owner->gap_reading = true;
    owner->gap_from = owner->delivered;
    owner->calls++;
    source->replay(source->ctx, owner->id, owner->delivered, OWNER_PAGE, on_gap_read, owner);
}

/* ---- catching up ------------------------------------------------------------------------------------ */
static void read_page(struct member *member, uint64_t after);

static void deliver_replayed(struct member *member, struct event *event)
{
    if (event->seq <= member->cursor)
        return;
    note_logged(member->owner, event->seq, event->mark);
    if (was_replied(member->catch_up, event->seq))
        member->ops->skip(member->to, event->seq);
    else
        member->ops->event(member->to, event);
    member->cursor = event->seq;
}

/* Delivers from the log as far as possible. */
static void continue_replay(struct member *member)
{
    struct owner *owner = member->owner;
    struct catch_up *catch_up = member->catch_up;
    while (!catch_up->reading) {
        struct event *event = page_next(catch_up);
        if (event == NULL && member->cursor >= owner->delivered) {
            member_become(member, MEMBER_LIVE);
            check_gap(owner);
            return;
        }
        if (event == NULL) {
            page_free(catch_up);
            read_page(member, member->cursor);
            return;
        }
        if (member->ops->slow(member->to) || is_held(owner->owners, event->task_id))
            return;
        catch_up->page_at++;
        deliver_replayed(member, event);
        event_unref(&event);
    }
}

void owners_start(struct member *member, uint64_t seq)
{
    if (member == NULL || member->state != MEMBER_JOINED)
        return;
    member->cursor = seq;
    member->ops->skip(member->to, seq);
    member_become(member, MEMBER_CATCHING);
    continue_replay(member);
}

/* ---- joining ---------------------------------------------------------------------------------------- */
static void answer(struct member *member, enum owners_joined result)
{
    const struct owner *owner = member->owner;
    const struct catch_up catch_up = *member->catch_up; /* a copy: the member may leave */
    struct owner_position at = {
        .ok = result != OWNERS_UNAVAILABLE, .head = owner->delivered, .mark = owner->mark};
    if (result == OWNERS_OK && catch_up.resume.seq > at.head) {
        at.head = catch_up.resume.seq; /* another hub has delivered more than this one has seen */
        at.mark = catch_up.resume.mark;
    }
    memcpy(at.epoch, owner->epoch, sizeof at.epoch);
    if (result == OWNERS_UNAVAILABLE)
        owners_leave(member);
    else
        member_become(member, MEMBER_JOINED);
    if (result == OWNERS_OK || result == OWNERS_GAP)
        metric_add(result == OWNERS_OK ? METRIC_RESUME_OK : METRIC_RESUME_GAP, 1);
    catch_up.fn(catch_up.ctx, result, &at);
}

static void keep_page(struct member *member, const struct owner_replay *replay)
{
    struct catch_up *catch_up = member->catch_up;
    metric_add(METRIC_REPLAYED, replay->count);
    catch_up->page = xmalloc(replay->count * sizeof(struct event *));
    catch_up->page_count = replay->count;
    for (size_t i = 0; i < replay->count; i++) {
        catch_up->page[i] = event_ref(replay->events[i]);
        progress_note(member->owner->owners->progress, replay->events[i]);
    }
}

/* Whether the log contains what the member saw last: an event that is gone may have been another one. */
static bool has_seen(const struct owners_resume *want, const struct owner_replay *replay)
{
    return want->mark == 0 || want->seq == 0 || want->mark == replay->mark;
}

static void page_arrived(struct member *member, const struct owner_replay *replay)
{
    bool joining = member->state == MEMBER_JOINING;
    bool usable = replay->ok && !replay->gap && replay->count;
    if (joining && replay->ok && !replay->gap) {
        usable = has_seen(&member->catch_up->resume, replay);
        if (usable && replay->count == 0) {
            answer(member, OWNERS_OK);
            return;
        }
    }
    if (usable)
        keep_page(member, replay);
    else if (!joining)
        member->catch_up->wait_ticks = OWNER_RETRY_TICKS;
    if (joining)
        answer(member, usable ? OWNERS_OK : replay->ok ? OWNERS_GAP : OWNERS_UNAVAILABLE);
    else if (usable)
        continue_replay(member);
    else if (replay->ok)
        member->ops->lost(member->to, "events lost");
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
        member->catch_up->reading = NULL;
        page_arrived(member, replay);
    }
}

/* Reads the page after `after`; if too many reads are under way, a tick tries again. */
static void read_page(struct member *member, uint64_t after)
{
    struct owner *owner = member->owner;
    struct owners *owners = owner->owners;
    start_ticks(owner);
    if (owners->reads >= OWNER_READS_MAX)
        return;
    struct member_read *read = xmalloc(sizeof *read);
    *read = (struct member_read){owner, member};
    member->catch_up->reading = read;
    owners->reads++;
    owner->calls++;
    owners->source.replay(owners->source.ctx, owner->id, after, OWNER_PAGE, on_page, read);
}

/* Answers a member that begins at the head; asks first which event that is if it is not known. */
static void answer_at_head(struct member *member, enum owners_joined result)
{
    struct owner *owner = member->owner;
    if (owner->mark || owner->delivered == 0 || member->catch_up->fresh) {
        answer(member, result);
        return;
    }
    member->catch_up->fresh = true;
    ask_position(owner);
}

/* Answers the member now that the position is known, or reads more. */
static void continue_join(struct member *member)
{
    struct owner *owner = member->owner;
    const struct owners_resume *want = &member->catch_up->resume;
    if (want->epoch[0] == '\0') {
        answer_at_head(member, OWNERS_NONE);
    } else if (strcmp(want->epoch, owner->epoch) != 0) {
        answer_at_head(member, OWNERS_GAP);
    } else if (want->seq > owner->newest) {
        if (member->catch_up->fresh) {
            answer(member, OWNERS_GAP);
            return;
        }
        member->catch_up->fresh = true;
        ask_position(owner);
    } else if (want->seq == owner->delivered && is_misfit(want->mark, owner->mark)) {
        answer(member, OWNERS_GAP);
    } else if (want->seq >= owner->delivered && (want->mark == 0 || want->mark == owner->mark)) {
        answer(member, OWNERS_OK);
    } else {
        read_page(member, want->seq);
    }
}

/* Answers every member that waits for a position, or reads more. */
static void continue_joins(struct owner *owner, bool ok)
{
    list_for_each_safe (node, after, &owner->members) {
        struct member *member = member_at(node);
        if (member->state != MEMBER_JOINING || member->catch_up->reading)
            continue;
        member->catch_up->fresh = true;
        if (ok)
            continue_join(member);
        else
            answer(member, OWNERS_UNAVAILABLE);
    }
}

static void apply_position(struct owner *owner, const struct owner_position *position)
{
    bool other = strcmp(position->epoch, owner->epoch) != 0 || position->head < owner->asked_at ||
                 (position->head == owner->delivered && is_misfit(position->mark, owner->mark));
    if (owner->attached && other) {
        end_members(owner, "data set replaced");
        owner->newest = owner->delivered = position->head;
        owner->newest_mark = owner->mark = position->mark;
    }
    memcpy(owner->epoch, position->epoch, sizeof owner->epoch);
    note_logged(owner, position->head, position->mark);
    owner->attached = true;
    if (started_count(owner) == 0)
        skip_to_newest(owner);
    check_gap(owner);
}

static void on_position(void *ctx, const struct owner_position *position)
{
    struct owner *owner = ctx;
    owner->attaching = false;
    if (position->ok)
        apply_position(owner, position);
    continue_joins(owner, position->ok);
    owner->calls--;
}

/* Asks the source for the position, unless a call is under way. */
static void ask_position(struct owner *owner)
{
    if (owner->attaching)
        return;
    owner->attaching = true;
    owner->asked_at = owner->delivered;
    owner->calls++;
    struct owner_source *source = &owner->owners->source;
    source->attach(source->ctx, owner->id, on_position, owner);
}

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

void owners_join(struct owners *owners, const char *id, struct member *member, struct owners_resume resume,
                 owners_join_fn *fn, void *ctx)
{
    owners_leave(member);
    struct owner *owner = find_owner(owners, id);
    if (owner == NULL)
        owner = owner_new(owners, id);
    if (member->serial == 0)
        member->serial = ++owners->serial;
    member->owner = owner;
    member->cursor = 0;
    list_append(&owner->members, &member->node);
    member_become(member, MEMBER_JOINING);
    struct catch_up *catch_up = member->catch_up;
    catch_up->resume = resume;
    catch_up->resume.epoch[sizeof resume.epoch - 1] = '\0';
    catch_up->fn = fn;
    catch_up->ctx = ctx;
    if (!owner->attached)
        ask_position(owner);
    else if (!owner->attaching)
        continue_join(member);
}

/* ---- time ------------------------------------------------------------------------------------------- */
static void tick_member(struct member *member)
{
    struct catch_up *catch_up = member->catch_up;
    if (catch_up == NULL)
        return;
    if (catch_up->wait_ticks)
        catch_up->wait_ticks--;
    else if (member->state == MEMBER_CATCHING)
        continue_replay(member);
    else if (member->state == MEMBER_JOINING && !catch_up->reading && !member->owner->attaching)
        continue_join(member);
}

/* One tick of an owner that waits; false if it waits no more. */
static bool tick_owner(struct owner *owner)
{
    if (owner->gap_wait_ticks)
        owner->gap_wait_ticks--;
    if (owner->gap_ticks) {
        unsigned limit = list_empty(&owner->holds) ? OWNER_GAP_TICKS : OWNER_GAP_TICKS_IN_FLIGHT;
        if (owner->gap_ticks++ >= limit && !owner->gap_reading && owner->gap_wait_ticks == 0)
            read_gap(owner);
    }
    list_for_each_safe (node, after, &owner->members)
        tick_member(member_at(node));
    return owner->gap_ticks || owner->member_counts[MEMBER_CATCHING] || owner->member_counts[MEMBER_JOINING];
}

void owners_tick(struct owners *owners)
{
    struct list now;
    list_init(&now);
    list_splice(&now, &owners->timed);
    for (struct list *node; (node = list_pop(&now));) {
        struct owner *owner = container_of(node, struct owner, timed);
        owner->calls++; /* keeps it from being freed during its tick */
        bool more = tick_owner(owner);
        owner->calls--;
        if (more && list_empty(&owner->timed))
            list_append(&owners->timed, &owner->timed);
    }
    if (list_empty(&owners->timed))
        uv_timer_stop(owners->tick_timer);
}

/* Frees an owner without members. */
static void owner_free(struct owner *owner)
{
    struct owners *owners = owner->owners;
    owners->source.detach(owners->source.ctx, owner->id); /* even a failed attach may have registered */
    while (!list_empty(&owner->holds))
        hold_free(owners, container_of(owner->holds.next, struct hold, of_owner));
    pending_clear(&owner->pending);
    list_remove(&owner->all);
    list_remove(&owner->timed);
    table_remove(&owners->by_id, &owner->node);
    free(owner);
}

void owners_tick_second(struct owners *owners)
{
    list_for_each_safe (node, after, &owners->all) {
        struct owner *owner = container_of(node, struct owner, all);
        owner->rechecked = false;
        if (list_empty(&owner->members) && (owner->linger_s == 0 || --owner->linger_s == 0) &&
            owner->calls == 0)
            owner_free(owner);
    }
}

/* ---- the whole -------------------------------------------------------------------------------------- */
void owners_reconnected(struct owners *owners)
{
    list_for_each_safe (node, after, &owners->all) {
        struct owner *owner = container_of(node, struct owner, all);
        owner->gap_wait_ticks = 0;
        list_for_each (m, &owner->members)
            if (member_at(m)->catch_up)
                member_at(m)->catch_up->wait_ticks = 0;
        if (!list_empty(&owner->members))
            ask_position(owner);
        else if (owner->calls == 0)
            owner_free(owner);
    }
}

static void on_tick(uv_timer_t *timer)
{
    owners_tick(timer->data);
}

static void on_second(uv_timer_t *timer)
{
    owners_tick_second(timer->data);
}

struct owners *owners_new(struct loop *loop, struct owner_source source)
{
    struct owners *owners = xcalloc(1, sizeof *owners);
    owners->source = source;
    owners->progress = progress_new();
    list_init(&owners->all);
    list_init(&owners->timed);
    owners->tick_timer = loop_timer(loop, owners);
    owners->second_timer = loop_timer(loop, owners);
    uv_timer_start(owners->second_timer, on_second, 1000, 1000);
    uv_unref((uv_handle_t *)owners->second_timer);
    return owners;
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
    free(dying->progress);
    loop_close(dying->tick_timer);
    loop_close(dying->second_timer);
    free(dying);
}
