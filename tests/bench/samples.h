/* SPDX-License-Identifier: MIT */
/* Latency samples and their percentiles. One thread. */
#pragma once

#include "hub/base/buf.h"

struct samples {
    uint32_t *microseconds;
    size_t count, room;
};
void samples_add(struct samples *samples, uint64_t microseconds);
/* Appends {"p50":…,"p95":…,"p99":…,"max":…} in milliseconds; sorts the samples. */
void samples_write(struct samples *samples, struct buf *to);
void samples_free(struct samples *samples);
