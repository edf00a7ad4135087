/* SPDX-License-Identifier: MIT */
/* Back-off: how long to wait after a failure, longer after more failures in a row. Sets no timer: its owner
 * waits. Any thread; a struct backoff is used by one thread at a time. */
#pragma once

#include <stddef.h>

struct backoff {
    unsigned failures; /* in a row; zero-initialised */
};

struct backoff_rule {
    const unsigned *waits_ms; /* one per failure in a row, the last also for all later ones; NULL: doubled */
    size_t count;
    unsigned first_ms, max_ms; /* doubled from first to max; half of each wait is random, so that many clients
                                  do not reconnect at the same time */
};
/* Processes: 50 ms after each of the first five deaths (so that a process that cannot start does not use up a
 * core), then 1, 2, 5, 5 … s. */
extern const struct backoff_rule backoff_process;
/* Connections: 50 ms, doubled up to 2 s. */
extern const struct backoff_rule backoff_connection;

/* Counts a failure. Returns the time to wait in ms. */
unsigned backoff_failed(struct backoff *backoff, const struct backoff_rule *rule);
/* Resets the count of failures. */
static inline void backoff_succeeded(struct backoff *backoff)
{
    backoff->failures = 0;
}
