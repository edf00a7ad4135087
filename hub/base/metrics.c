/* SPDX-License-Identifier: MIT */
/* Counters and their text form; see metrics.h. */
#include "hub/base/metrics.h"

uint64_t metrics[METRICS];

static const struct {
    const char *name, *type, *labels, *help;
} rows[METRICS] = {
#define METRIC(id, name, type, labels, help) {name, type, labels, help},
#include "hub/base/metrics.def"
#undef METRIC
};

void metrics_write(struct buf *to)
{
    for (size_t i = 0; i < METRICS; i++) {
        if (i == 0 || strcmp(rows[i].name, rows[i - 1].name) != 0)
            buf_printf(to, "# HELP %s %s\n# TYPE %s %s\n", rows[i].name, rows[i].help, rows[i].name,
                       rows[i].type);
        buf_append_text(to, rows[i].name);
        if (rows[i].labels[0])
            buf_printf(to, "{%s}", rows[i].labels);
        buf_append_char(to, ' ');
        buf_append_u64(to, metrics[i]);
        buf_append_char(to, '\n');
    }
}
