/* SPDX-License-Identifier: MIT */
/* Turns; see turns.h. An owner is in one list at most: `ready` while he has work that may begin, `poor` while
 * his bucket is empty, `idle` without work, until his bucket is full and he is freed. */
#include "hub/base/turns.h"

#include "hub/base/table.h"

struct turn_owner {
    struct table_node node;
    struct list list;
    struct list waiting; /* struct turn */
    size_t under_way;    /* weight */
    struct bucket bucket;
};

struct turns {
    struct loop *loop;
    struct turns_limits limits;
    struct table owners;
    struct list ready, poor, idle;
    size_t under_way; /* weight */
    uv_timer_t *timer;
};

static void on_timer(uv_timer_t *timer);

static struct turn_owner *owner_of(struct list *node)
{
    return container_of(node, struct turn_owner, list);
}

static int64_t tokens(struct turns *turns, struct turn_owner *owner, int64_t take)
{
    return bucket_take(&owner->bucket, turns->limits.rate, take, uv_now(&turns->loop->uv));
}

static void owner_move(struct turn_owner *owner, struct list *to)
{
    list_remove(&owner->list);
    list_append(to, &owner->list);
}

/* ---- life ---- */

struct turns *turns_new(struct loop *loop, const struct turns_limits *limits)
{
    struct turns *turns = xcalloc(1, sizeof *turns);
    turns->loop = loop;
    turns->limits = *limits;
    turns->timer = loop_timer(loop, turns);
    list_init(&turns->ready);
    list_init(&turns->poor);
    list_init(&turns->idle);
    return turns;
}

static void owner_free(struct turns *turns, struct turn_owner *owner)
{
    table_remove(&turns->owners, &owner->node);
    list_remove(&owner->list);
    free(owner);
}

void turns_free(struct turns **turns_at, void (*drop)(struct turn *turn))
{
    struct turns *turns = *turns_at;
    if (turns == NULL)
        return;
    *turns_at = NULL;
    for (struct table_node *node; (node = table_any(&turns->owners)) != NULL;) {
        struct turn_owner *owner = container_of(node, struct turn_owner, node);
        for (struct list *turn; (turn = list_pop(&owner->waiting)) != NULL;)
            drop(container_of(turn, struct turn, node));
        owner_free(turns, owner);
    }
    table_free(&turns->owners);
    loop_close(turns->timer);
    free(turns);
}

/* ---- owners ---- */

/* Frees some owners whose bucket is full: a new one would be the same. */
static void forget(struct turns *turns)
{
    for (int i = 0; i < 2 && !list_empty(&turns->idle); i++) {
        struct turn_owner *owner = owner_of(turns->idle.next);
        if (tokens(turns, owner, 0) < turns->limits.rate.burst * 1000)
            return;
        owner_free(turns, owner);
    }
}

static struct turn_owner *find(struct turns *turns, struct span name)
{
    struct table_node *node = table_find(&turns->owners, name);
    if (node)
        return container_of(node, struct turn_owner, node);
    struct turn_owner *owner = table_new(&turns->owners, sizeof *owner, name);
    list_init(&owner->list);
    list_init(&owner->waiting);
    bucket_fill(&owner->bucket, turns->limits.rate, uv_now(&turns->loop->uv));
    return owner;
}

/* ---- turns ---- */

static bool fits(const struct turns *turns, const struct turn_owner *owner, const struct turn *turn)
{
    return owner->under_way == 0 || owner->under_way + turn->weight <= turns->limits.owner_weight;
}

static void begin(struct turns *turns, struct turn_owner *owner, struct turn *turn)
{
    list_remove(&turn->node);
    turns->under_way += turn->weight;
    owner->under_way += turn->weight;
    tokens(turns, owner, (int64_t)turn->weight);
    if (list_empty(&owner->waiting))
        list_remove(&owner->list);
    else
        owner_move(owner, &turns->ready);
    turn->go(turn);
}

/* Begins what may begin, one piece of each owner in turn. */
static void pump(struct turns *turns)
{
    while (!list_empty(&turns->ready) && turns->under_way < turns->limits.weight) {
        struct turn_owner *owner = owner_of(turns->ready.next);
        struct turn *turn = container_of(owner->waiting.next, struct turn, node);
        if (!fits(turns, owner, turn)) { /* until a piece of his ends */
            list_remove(&owner->list);
        } else if (tokens(turns, owner, 0) <= 0) {
            uint64_t in_ms = bucket_wait_ms(&owner->bucket, turns->limits.rate);
            owner_move(owner, &turns->poor);
            loop_timer_within(turns->timer, on_timer, in_ms);
        } else {
            begin(turns, owner, turn);
        }
    }
}

/* Tries the poor again; pump() moves those back whose bucket is still empty. */
static void on_timer(uv_timer_t *timer)
{
    struct turns *turns = timer->data;
    list_splice(&turns->ready, &turns->poor);
    pump(turns);
}

void turns_ask(struct turns *turns, struct turn *turn, struct span name)
{
    forget(turns);
    struct turn_owner *owner = find(turns, name);
    bool first = list_empty(&owner->waiting);
    turn->owner = owner;
    list_append(&owner->waiting, &turn->node);
    if (first)
        owner_move(owner, &turns->ready);
    pump(turns);
}

void turns_done(struct turns *turns, struct turn *turn, size_t weight)
{
    struct turn_owner *owner = turn->owner;
    if (owner == NULL)
        return;
    turn->owner = NULL;
    turns->under_way -= turn->weight;
    owner->under_way -= turn->weight;
    tokens(turns, owner, (int64_t)weight - (int64_t)turn->weight);
    if (!list_empty(&owner->waiting) && list_empty(&owner->list))
        list_append(&turns->ready, &owner->list);
    else if (list_empty(&owner->waiting) && owner->under_way == 0)
        owner_move(owner, &turns->idle);
    pump(turns);
}
