/* SPDX-License-Identifier: MIT */
/* Deadlines of many: a wheel of ticks (Varghese and Lauck), which costs 24 bytes each, and O(1) to set, in
 * place of a timer each. It wakes its user's objects at their time or up to a tick later, or much earlier:
 * whoever was woken looks at what is due and waits again. Owns nothing. One thread at a time. */
#pragma once

#include "hub/base/list.h"

#include <stdint.h>

#define WHEEL_TICK_MS 100
#define WHEEL_TICKS 512 /* who waits for later is woken after so many */

struct wheel {
    uint64_t now; /* the tick whose timers are woken */
    struct list slots[WHEEL_TICKS];
};

struct wheel_timer { /* part of what is woken */
    struct list node;
    uint64_t tick;
};

/* `now`, `due`: ms of one clock that does not go back. */
void wheel_init(struct wheel *wheel, uint64_t now);
void wheel_timer_init(struct wheel_timer *timer);
/* Wakes it at `due` at the latest but for a tick; what was set for earlier stays. */
void wheel_set(struct wheel *wheel, struct wheel_timer *timer, uint64_t due);
/* It is not woken. Fine for one that is not set. */
void wheel_stop(struct wheel_timer *timer);
/* Returns the next timer to wake, which is set no longer; NULL when that is all until `now`. Call it once per
 * tick or more often. */
struct wheel_timer *wheel_next(struct wheel *wheel, uint64_t now);
