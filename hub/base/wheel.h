/* SPDX-License-Identifier: MIT */
/* Many deadlines in a timer wheel (Varghese and Lauck): each costs 24 bytes and O(1) to set. It wakes an
 * object at its time, up to a tick later, or much earlier: the user then checks what is due and sets the
 * timer again. Owns nothing. One thread at a time. */
#pragma once

#include "hub/base/list.h"

#include <stdint.h>

#define WHEEL_TICK_MS 100
#define WHEEL_TICKS 512 /* a timer set for later is woken after this many ticks */

struct wheel {
    uint64_t now; /* the tick whose timers are being woken */
    struct list slots[WHEEL_TICKS];
};

struct wheel_timer { /* embedded in the object to wake */
    struct list node;
    uint64_t tick;
};

/* `now` and `due`: ms of one monotonic clock. */
void wheel_init(struct wheel *wheel, uint64_t now);
void wheel_timer_init(struct wheel_timer *timer);
/* Wakes it at `due`, or up to a tick later; a timer that is set for earlier stays as it is. */
void wheel_set(struct wheel *wheel, struct wheel_timer *timer, uint64_t due);
/* Stops a timer; fine for one that is not set. */
void wheel_stop(struct wheel_timer *timer);
/* Returns the next timer to wake, which is then not set any more; NULL if none is left by `now`. Call until
 * NULL, once per tick or more often. */
struct wheel_timer *wheel_next(struct wheel *wheel, uint64_t now);
