/* SPDX-License-Identifier: MIT */
/* How long to wait after failures; see backoff.h. */
#include "hub/base/backoff.h"

#include "hub/base/mem.h"

#include <sodium.h>

static const unsigned process_ms[] = {50, 50, 50, 50, 50, 1000, 2000, 5000};

const struct backoff_rule backoff_process = {.waits_ms = process_ms, .count = NELEMS(process_ms)};
const struct backoff_rule backoff_connection = {.first_ms = 50, .max_ms = 2000};

/* "Equal jitter": half of the doubled time, and a random part of the other half. */
static unsigned doubled(const struct backoff_rule *rule, unsigned failures)
{
    unsigned most = rule->first_ms;
    for (unsigned i = 1; i < failures && most < rule->max_ms; i++)
        most *= 2;
    if (most > rule->max_ms)
        most = rule->max_ms;
    return most / 2 + randombytes_uniform(most / 2 + 1);
}

unsigned backoff_failed(struct backoff *backoff, const struct backoff_rule *rule)
{
    size_t failures = ++backoff->failures;
    if (rule->waits_ms == NULL)
        return doubled(rule, backoff->failures);
    return rule->waits_ms[(failures < rule->count ? failures : rule->count) - 1];
}
