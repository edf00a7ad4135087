/* SPDX-License-Identifier: MIT */
/* Counters and gauges, listed in metrics.def. Plain numbers: counting costs one addition. Loop thread
 * only. */
#pragma once

#include "hub/base/buf.h"

enum metric {
#define METRIC(id, name, type, labels, help) METRIC_##id,
#include "hub/base/metrics.def"
#undef METRIC
    METRICS,
};

extern uint64_t metrics[METRICS];

/* For counters. */
static inline void metric_add(enum metric metric, uint64_t n)
{
    metrics[metric] += n;
}
/* For gauges. */
static inline void metric_set(enum metric metric, uint64_t value)
{
    metrics[metric] = value;
}
/* Appends all metrics in Prometheus' text format 0.0.4. */
void metrics_write(struct buf *to);
