/* SPDX-License-Identifier: MIT */
/* Back-off: how long to wait after a failure, longer the more of them came in a row. Sets no timer: the owner
 * waits. Any thread; a struct backoff belongs to one at a time. */
#pragma once

#include <stddef.h>

struct backoff {
    unsigned failures; /* in a row; zero-initialised */
};

struct backoff_rule {
    const unsigned *waits_ms; /* one per failure, the last for all that follow; NULL: doubled */
    size_t count;
    unsigned first_ms, max_ms; /* doubled: from first to max, half of it by chance, so that many do not come
                                  back in step */
};
/* Processes: five quick deaths are answered at once (50 ms: one that cannot start must not burn a core), then
 * it waits 1, 2, 5, 5 … s. */
extern const struct backoff_rule backoff_process;
/* Connections: 50 ms, doubled up to 2 s. */
extern const struct backoff_rule backoff_connection;

/* Counts a failure; the milliseconds to wait. */
unsigned backoff_failed(struct backoff *backoff, const struct backoff_rule *rule);
static inline void backoff_succeeded(struct backoff *backoff)
{
    backoff->failures = 0;
}
