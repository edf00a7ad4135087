/* SPDX-License-Identifier: MIT */
/* Turns of the snapshots; see snapshots.h. Time is measured from the first read under way to each answer,
 * which is more than Redis spends on it. Loop thread. */
#include "handlers/session/snapshots.h"

#include "hub/base/clock.h"

#define AT_ONCE 4
#define PAUSES 4          /* as long as the read took: a fifth of the time is left for reads */
#define AHEAD_US 200000   /* of pauses that may still be due when a read begins: a few come at once */
#define FAILED_US 1000000 /* until the next one when Redis did not answer */

struct snapshots {
    struct list waiting;
    unsigned reading;
    uint64_t since_us; /* when the read that Redis works on began */
    uint64_t due_us;   /* when all pauses are over */
    uv_timer_t *timer; /* runs while a turn waits for the pauses */
};

static bool may_read(const struct snapshots *snapshots, uint64_t now_us)
{
    return snapshots->reading < AT_ONCE && snapshots->due_us <= now_us + AHEAD_US;
}

static void begin(struct snapshots *snapshots, uint64_t now_us)
{
    if (snapshots->reading++ == 0)
        snapshots->since_us = now_us;
}

static void on_timer(uv_timer_t *timer);

static void start_timer(struct snapshots *snapshots, uint64_t now_us)
{
    uint64_t from_us = now_us + AHEAD_US;
    uint64_t wait_us = snapshots->due_us > from_us ? snapshots->due_us - from_us : 0;
    if (snapshots->reading < AT_ONCE && !list_empty(&snapshots->waiting))
        uv_timer_start(snapshots->timer, on_timer, wait_us / 1000 + 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct snapshots *snapshots = timer->data;
    uint64_t now_us = clock_mono_us();
    while (!list_empty(&snapshots->waiting) && may_read(snapshots, now_us)) {
        struct list *node = list_pop(&snapshots->waiting);
        begin(snapshots, now_us);
        struct snapshot_turn *turn = container_of(node, struct snapshot_turn, node);
        turn->go(turn);
    }
    start_timer(snapshots, now_us);
}

bool snapshots_ask(struct app *app, struct snapshot_turn *turn)
{
    struct snapshots *snapshots = app->snapshots;
    uint64_t now_us = clock_mono_us();
    if (!list_empty(&snapshots->waiting) || !may_read(snapshots, now_us)) {
        snapshots_wait(app, turn);
        return false;
    }
    begin(snapshots, now_us);
    return true;
}

void snapshots_wait(struct app *app, struct snapshot_turn *turn)
{
    list_append(&app->snapshots->waiting, &turn->node);
    start_timer(app->snapshots, clock_mono_us());
}

void snapshots_leave(struct snapshot_turn *turn)
{
    list_remove(&turn->node);
}

void snapshots_done(struct app *app, bool answered)
{
    struct snapshots *snapshots = app->snapshots;
    uint64_t now_us = clock_mono_us(), from_us = snapshots->due_us > now_us ? snapshots->due_us : now_us;
    snapshots->due_us = from_us + PAUSES * (now_us - snapshots->since_us);
    if (!answered)
        snapshots->due_us = now_us + AHEAD_US + FAILED_US;
    snapshots->since_us = now_us;
    snapshots->reading--;
    start_timer(snapshots, now_us);
}

void snapshots_start(struct app *app)
{
    app->snapshots = xcalloc(1, sizeof *app->snapshots);
    list_init(&app->snapshots->waiting);
    app->snapshots->timer = loop_timer(app->loop, app->snapshots);
}

void snapshots_stop(struct app *app)
{
    while (!list_empty(&app->snapshots->waiting))
        list_pop(&app->snapshots->waiting); /* who waits may leave later */
    loop_close(app->snapshots->timer);
    free(app->snapshots);
    app->snapshots = NULL;
}
