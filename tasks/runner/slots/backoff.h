/* When a process that keeps dying before it was ready may be started again: at once up to five times, then
 * after 1, 2, 5, 5 … seconds. Loop thread; no timers, the owner waits. */
#pragma once

#include <stdint.h>

struct backoff {
    unsigned failures; /* in a row */
};

static inline void backoff_succeeded(struct backoff *backoff)
{
    backoff->failures = 0;
}

/* Counts a failure; gives the milliseconds to wait. */
static inline uint64_t backoff_failed(struct backoff *backoff)
{
    static const uint64_t waits[] = {0, 0, 0, 0, 0, 1000, 2000, 5000};
    unsigned last = sizeof waits / sizeof waits[0] - 1;
    unsigned at = backoff->failures < last ? backoff->failures : last;
    backoff->failures++;
    return waits[at];
}
