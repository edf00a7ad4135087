/* SPDX-License-Identifier: MIT */
/* The loop of a unit test, and waiting on it. Include it once. */
#pragma once

#include "hub/base/clock.h"
#include "hub/base/loop.h"

#include "tests/lib/tap.h"

static struct loop loop;

static inline void on_wake_(uv_timer_t *timer)
{
    (void)timer;
}

/* Runs the loop until the condition holds, at most 10 s of a quiet machine. Returns whether it holds. */
#define UNTIL(condition)                                                                                     \
    __extension__({                                                                                          \
        bool holds_;                                                                                         \
        uv_timer_t wake_;                                                                                    \
        uint64_t begun_ = clock_mono_ms();                                                                   \
        uv_timer_init(&loop.uv, &wake_);                                                                     \
        uv_timer_start(&wake_, on_wake_, 5, 5);                                                              \
        while (!(holds_ = (condition)) && in_time(clock_mono_ms() - begun_, 10000))                          \
            uv_run(&loop.uv, UV_RUN_ONCE);                                                                   \
        uv_close((uv_handle_t *)&wake_, NULL);                                                               \
        uv_run(&loop.uv, UV_RUN_NOWAIT);                                                                     \
        holds_;                                                                                              \
    })

/* Runs the loop until *counter reaches `want`. */
static inline bool reach(const unsigned *counter, unsigned want)
{
    return UNTIL(*counter >= want);
}
