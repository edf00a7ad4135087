/* Members joining an owner's events: where the log stands, resume, and catching up from a member's own
 * cursor until it is level with its owner's; see owners.h. Loop thread only. */
#include "hub/owners/owners_private.h"

#include "hub/base/metrics.h"

#include <stdio.h>

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
