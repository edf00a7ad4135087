/* SPDX-License-Identifier: MIT */
/* The timer wheel: no timer fires late, compared with a check of all timers. */
#include "hub/base/wheel.h"
#include "tests/lib/tap.h"

#define FAR (3 * WHEEL_TICKS * WHEEL_TICK_MS)
#define MANY 200

static struct wheel wheel;

struct thing {
    struct wheel_timer timer;
    uint64_t due; /* 0 = not set */
};

static struct thing *next(uint64_t now)
{
    struct wheel_timer *timer = wheel_next(&wheel, now);
    return timer ? container_of(timer, struct thing, timer) : NULL;
}

static void set(struct thing *thing, uint64_t due)
{
    thing->due = due;
    wheel_set(&wheel, &thing->timer, due);
}

static void test_one(void)
{
    struct thing thing;
    wheel_init(&wheel, 1000);
    wheel_timer_init(&thing.timer);
    wheel_stop(&thing.timer);
    ok(next(5000) == NULL, "nothing is set");
    set(&thing, 5250);
    ok(next(5250) == NULL, "not before its time");
    ok(next(5300) == &thing, "within a tick");
    ok(next(5400) == NULL, "once");
    set(&thing, 5000);
    ok(next(5400) == NULL && next(5500) == &thing, "what is due already comes with the next tick");
    set(&thing, 9000);
    set(&thing, 6000);
    ok(next(6100) == &thing && next(9100) == NULL, "an earlier time moves it");
    set(&thing, 10000);
    set(&thing, 60000);
    ok(next(10100) == &thing, "a later one does not");
    set(&thing, 11000);
    wheel_stop(&thing.timer);
    ok(next(20000) == NULL, "one that was stopped is not woken");
    set(&thing, 20000 + FAR);
    ok(next(20000 + FAR) == &thing, "one that waits for very long is woken, however late the wheel turns");
}

/* Sets and changes times at random, and advances the wheel. */
static void test_many(void)
{
    static struct thing things[MANY];
    unsigned late = 0, wrong = 0, woken = 0, seed = 1;
    uint64_t now = 0;
    wheel_init(&wheel, now);
    for (unsigned i = 0; i < MANY; i++)
        wheel_timer_init(&things[i].timer);
    for (unsigned turn = 0; turn < 20000; turn++) {
        seed = seed * 1103515245 + 12345;
        struct thing *any = &things[(seed >> 8) % MANY];
        if (any->due == 0)
            set(any, now + 1 + (seed >> 4) % FAR);
        now += (seed >> 16) % 50;
        for (struct thing *thing; (thing = next(now)) != NULL; woken++) {
            wrong += thing->due == 0;
            if (thing->due > now)
                set(thing, thing->due); /* woken early: set it again */
            else
                thing->due = 0;
        }
        for (unsigned i = 0; i < MANY; i++)
            late += things[i].due && things[i].due + WHEEL_TICK_MS < now;
    }
    ok(woken > 1000, "%u were woken", woken);
    is_int(late, 0, "none was late");
    is_int(wrong, 0, "and none came twice");
}

int main(void)
{
    test_one();
    test_many();
    return done_testing();
}
