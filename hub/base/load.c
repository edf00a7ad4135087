/* SPDX-License-Identifier: MIT */
/* Loads; see load.h. A waiting load is in a list of its user, and a user with waiting loads is in a list of
 * the hub. A timer wakes them: at once when something has ended, or when a rate allows more. */
#include "hub/base/load.h"

#include "hub/base/list.h"
#include "hub/base/metrics.h"
#include "hub/base/table.h"

struct user {
    struct table_node node;
    struct list in_waiting_users; /* while a load waits */
    struct list waiting;          /* loads */
    unsigned refs;                /* loads */
    unsigned connections;         /* loads that have not left */
    unsigned requests;            /* requests under way */
    size_t unwritten;             /* bytes */
    struct bucket rate;           /* rate of messages */
};

struct load {
    struct loads *loads;
    struct user *user; /* NULL before authentication */
    struct list node;  /* in user->waiting */
    unsigned refs;
    unsigned requests;
    size_t unwritten;
    struct bucket rate;
    void (*room)(void *ctx); /* NULL: the connection is gone */
    void *ctx;
};

struct loads {
    struct loop *loop;
    struct load_limits limits;
    struct table users;
    struct list waiting_users;
    uv_timer_t *timer;
};

static void on_timer(uv_timer_t *timer);

static uint64_t now_of(const struct loads *loads)
{
    return uv_now(&loads->loop->uv);
}

struct loads *loads_new(struct loop *loop, const struct load_limits *limits)
{
    struct loads *loads = xcalloc(1, sizeof *loads);
    loads->loop = loop;
    loads->limits = *limits;
    loads->timer = loop_timer(loop, loads);
    list_init(&loads->waiting_users);
    return loads;
}

void loads_free(struct loads **loads)
{
    loop_close((*loads)->timer);
    table_free(&(*loads)->users);
    free(*loads);
    *loads = NULL;
}

/* ---- users ---- */

static struct user *user_find(struct loads *loads, struct span name)
{
    struct table_node *node = table_find(&loads->users, name);
    if (node)
        return container_of(node, struct user, node);
    struct user *user = table_new(&loads->users, sizeof *user, name);
    list_init(&user->in_waiting_users);
    list_init(&user->waiting);
    bucket_fill(&user->rate, loads->limits.user_rate, now_of(loads));
    return user;
}

static void user_unref(struct loads *loads, struct user *user)
{
    if (--user->refs)
        return;
    table_remove(&loads->users, &user->node);
    list_remove(&user->in_waiting_users);
    free(user);
}

static bool user_has_room(const struct loads *loads, const struct user *user)
{
    const struct load_limits *limits = &loads->limits;
    return user->requests < limits->user_requests && user->unwritten < limits->user_bytes &&
           user->rate.tokens > 0;
}

static bool has_own_room(const struct load *load)
{
    return load->requests < load->loads->limits.requests;
}

/* ---- life ---- */

struct load *load_new(struct loads *loads, void (*room)(void *ctx), void *ctx)
{
    struct load *load = xcalloc(1, sizeof *load);
    *load = (struct load){.loads = loads, .refs = 1, .room = room, .ctx = ctx};
    list_init(&load->node);
    bucket_fill(&load->rate, loads->limits.rate, now_of(loads));
    return load;
}

bool load_set_user(struct load *load, struct span name)
{
    struct user *user = user_find(load->loads, name);
    user->refs++;
    if (user->connections >= load->loads->limits.user_connections) {
        user_unref(load->loads, user);
        return false;
    }
    user->connections++;
    user->requests += load->requests;
    user->unwritten += load->unwritten;
    load->user = user;
    return true;
}

struct load *load_ref(struct load *load)
{
    load->refs++;
    return load;
}

void load_unref(struct load *load)
{
    if (load == NULL || --load->refs)
        return;
    if (load->user)
        user_unref(load->loads, load->user);
    free(load);
}

void load_leave(struct load *load)
{
    load_wait_no_more(load);
    load->room = NULL;
    if (load->user)
        load->user->connections--;
    load_unref(load);
}

/* ---- waiting ---- */

/* Looks for room for waiting loads, in this time. */
static void schedule_wake(struct loads *loads, uint64_t in_ms)
{
    loop_timer_within(loads->timer, on_timer, in_ms);
}

static void wake_waiting(struct load *load)
{
    if (load->user && !list_empty(&load->user->waiting))
        schedule_wake(load->loads, 0);
}

bool load_has_room(struct load *load)
{
    struct user *user = load->user;
    if (user == NULL)
        return true;
    if (user->rate.tokens <= 0)
        bucket_take(&user->rate, load->loads->limits.user_rate, 0, now_of(load->loads));
    return has_own_room(load) && user_has_room(load->loads, user);
}

/* Wakes the user's waiting loads that have room; the others keep their places. */
static void wake_user(struct loads *loads, struct user *user)
{
    struct list round;
    list_init(&round);
    list_splice(&round, &user->waiting);
    bucket_take(&user->rate, loads->limits.user_rate, 0, now_of(loads));
    user->refs++; /* a callback may release the user's last load */
    for (struct list *node; (node = list_pop(&round));) {
        struct load *load = container_of(node, struct load, node);
        if (has_own_room(load) && user_has_room(loads, user))
            load->room(load->ctx);
        else
            list_append(&user->waiting, node);
    }
    if (list_empty(&user->waiting))
        list_remove(&user->in_waiting_users);
    else if (list_empty(&user->in_waiting_users)) /* a load that left meanwhile has removed it */
        list_append(&loads->waiting_users, &user->in_waiting_users);
    if (!list_empty(&user->waiting) && user->rate.tokens <= 0)
        schedule_wake(loads, bucket_wait_ms(&user->rate, loads->limits.user_rate));
    user_unref(loads, user);
}

static void on_timer(uv_timer_t *timer)
{
    struct loads *loads = timer->data;
    struct list round;
    list_init(&round);
    list_splice(&round, &loads->waiting_users);
    for (struct list *node; (node = list_pop(&round));) {
        list_append(&loads->waiting_users, node);
        wake_user(loads, container_of(node, struct user, in_waiting_users));
    }
}

void load_wait(struct load *load)
{
    struct user *user = load->user;
    metric_add(METRIC_READING_PAUSED, 1);
    list_append(&user->waiting, &load->node);
    if (list_empty(&user->in_waiting_users))
        list_append(&load->loads->waiting_users, &user->in_waiting_users);
    if (user->rate.tokens <= 0)
        schedule_wake(load->loads, bucket_wait_ms(&user->rate, load->loads->limits.user_rate));
}

void load_wait_no_more(struct load *load)
{
    list_remove(&load->node);
    if (load->user && list_empty(&load->user->waiting))
        list_remove(&load->user->in_waiting_users);
}

enum load_rate load_count(struct load *load, size_t messages)
{
    if (load == NULL)
        return LOAD_IN_TIME;
    struct loads *loads = load->loads;
    uint64_t now = now_of(loads);
    if (load->user)
        bucket_take(&load->user->rate, loads->limits.user_rate, (int64_t)messages, now);
    int64_t left = bucket_take(&load->rate, loads->limits.rate, (int64_t)messages, now);
    return left >= 0 ? LOAD_IN_TIME : left > -loads->limits.rate.burst * 1000 ? LOAD_TOO_FAST : LOAD_FLOOD;
}

/* ---- requests and answers ---- */

struct load *load_begin(struct load *load)
{
    if (load == NULL)
        return NULL;
    load->requests++;
    if (load->user)
        load->user->requests++;
    return load_ref(load);
}

void load_end(struct load *load)
{
    if (load == NULL)
        return;
    load->requests--;
    if (load->user)
        load->user->requests--;
    wake_waiting(load);
    load_unref(load);
}

void load_unwritten(struct load *load, size_t before, size_t now)
{
    if (load == NULL || before == now)
        return;
    load->unwritten += now - before;
    if (load->user)
        load->user->unwritten += now - before;
    if (now < before)
        wake_waiting(load);
}

bool load_fits(const struct load *load, size_t bytes)
{
    return load == NULL || load->user == NULL ||
           load->user->unwritten + bytes <= load->loads->limits.user_bytes;
}
