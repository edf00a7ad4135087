/* SPDX-License-Identifier: MIT */
/* Back-off: how long to wait after a failure, longer the more failures came in a row. Sets no timer: the
 * owner waits. Any thread; a struct backoff belongs to one at a time. */
#pragma once

#include <stddef.h>

struct backoff {
    unsigned failures; /* in a row; zero-initialised */
};

struct backoff_rule {
    const unsigned *waits_ms; /* one per failure, the last for all that follow; NULL: doubled */
    size_t count;
    unsigned first_ms, max_ms; /* doubled from first to max; half of it is random, so that many clients do not
                                * come back in step */
};
/* Processes: 50 ms after each of the first five deaths (a process that cannot start must not burn a core),
 * then 1, 2, 5, 5 … s. */
extern const struct backoff_rule backoff_process;
/* Connections: 50 ms, doubled up to 2 s. */
extern const struct backoff_rule backoff_connection;

/* Counts a failure. Returns how long to wait, in milliseconds. */
unsigned backoff_failed(struct backoff *backoff, const struct backoff_rule *rule);
/* Counts from zero again. */
static inline void backoff_succeeded(struct backoff *backoff)
{
    backoff->failures = 0;
}
