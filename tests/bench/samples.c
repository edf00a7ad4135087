/* SPDX-License-Identifier: MIT */
/* Latency samples; see samples.h. */
#include "tests/bench/samples.h"

void samples_add(struct samples *samples, uint64_t microseconds)
{
    if (samples->count == samples->room) {
        samples->room = samples->room ? samples->room * 2 : 65536;
        samples->microseconds =
            xrealloc(samples->microseconds, samples->room * sizeof *samples->microseconds);
    }
    samples->microseconds[samples->count++] = microseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)microseconds;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The value that `per_mille` of the sorted samples do not exceed, in milliseconds. */
static double percentile(const struct samples *samples, size_t per_mille)
{
    if (samples->count == 0)
        return 0;
    size_t at = samples->count * per_mille / 1000;
    return samples->microseconds[at < samples->count ? at : samples->count - 1] / 1000.0;
}

void samples_write(struct samples *samples, struct buf *to)
{
    if (samples->count)
        qsort(samples->microseconds, samples->count, sizeof *samples->microseconds, by_value);
    buf_printf(to, "{\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,\"max\":%.3f}", percentile(samples, 500),
               percentile(samples, 950), percentile(samples, 990), percentile(samples, 1000));
}

void samples_free(struct samples *samples)
{
    free(samples->microseconds);
    *samples = (struct samples){NULL, 0, 0};
}
