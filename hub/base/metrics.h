/* SPDX-License-Identifier: MIT */
/* Counters and gauges in Prometheus text. One fixed list (metrics.def); counters are plain numbers of
 * the loop thread, so counting costs one addition. Loop thread only. */
#pragma once

#include "hub/base/buf.h"

enum metric {
#define METRIC(id, name, type, labels, help) METRIC_##id,
#include "hub/base/metrics.def"
#undef METRIC
    METRICS,
};

extern uint64_t metrics[METRICS];

static inline void metric_add(enum metric metric, uint64_t n)
{
    metrics[metric] += n;
}
static inline void metric_set(enum metric metric, uint64_t value)
{
    metrics[metric] = value;
}
/* Appends all of them in the Prometheus text format 0.0.4. */
void metrics_write(struct buf *to);
