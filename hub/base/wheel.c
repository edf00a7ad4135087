/* SPDX-License-Identifier: MIT */
/* A wheel of timers; see wheel.h. */
#include "hub/base/wheel.h"

void wheel_init(struct wheel *wheel, uint64_t now)
{
    wheel->now = now / WHEEL_TICK_MS;
    for (unsigned i = 0; i < WHEEL_TICKS; i++)
        list_init(&wheel->slots[i]);
}

void wheel_timer_init(struct wheel_timer *timer)
{
    list_init(&timer->node);
}

void wheel_set(struct wheel *wheel, struct wheel_timer *timer, uint64_t due)
{
    uint64_t tick = due / WHEEL_TICK_MS + 1, last = wheel->now + WHEEL_TICKS - 1;
    if (tick <= wheel->now)
        tick = wheel->now + 1;
    if (tick > last)
        tick = last;
    if (!list_empty(&timer->node) && timer->tick <= tick)
        return;
    wheel_stop(timer);
    timer->tick = tick;
    list_append(&wheel->slots[tick % WHEEL_TICKS], &timer->node);
}

void wheel_stop(struct wheel_timer *timer)
{
    list_remove(&timer->node);
}

struct wheel_timer *wheel_next(struct wheel *wheel, uint64_t now)
{
    for (;; wheel->now++) {
        struct list *node = list_pop(&wheel->slots[wheel->now % WHEEL_TICKS]);
        if (node)
            return container_of(node, struct wheel_timer, node);
        if (wheel->now >= now / WHEEL_TICK_MS)
            return NULL;
    }
}
