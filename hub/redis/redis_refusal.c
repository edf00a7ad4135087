/* SPDX-License-Identifier: MIT */
/* Classifies errors of Redis; see redis_refusal.h. Loop thread. */
#include "hub/redis/redis_refusal.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"

#define LASTS_MS 10000 /* a kind that did not occur for this long is over */

static const struct {
    const char *text;
    const char *begins[5]; /* how errors of this kind begin */
} kinds[REDIS_REFUSALS] = {
    [REDIS_TAKES] = {"", {NULL}},
    [REDIS_NOPERM] = {"noperm: the user may not use the keys, channels or commands of the queue; ACL rules: "
                      "~th:* &th:* +@all -@dangerous +info",
                      {"NOPERM"}},
    [REDIS_NOAUTH] = {"noauth: it wants another user or password; set them in redis.url",
                      {"NOAUTH", "WRONGPASS", "ERR Client sent AUTH", "ERR AUTH", "ERR invalid password"}},
    [REDIS_MOVED] = {"moved: it is a node of a cluster and does not hold these keys; use one primary",
                     {"MOVED", "CLUSTERDOWN", "ASK", "CROSSSLOT", "TRYAGAIN"}},
    [REDIS_READONLY] = {"readonly: it is a replica and takes no writes; redis.url has to name the primary",
                        {"READONLY", "MASTERDOWN"}},
    [REDIS_MISCONF] = {"misconf: it cannot write to its disk; is that full?", {"MISCONF"}},
    [REDIS_OOM] = {"oom: its maxmemory is used up; what is queued is worked off, nothing new is taken",
                   {"OOM"}},
    [REDIS_LOADING] = {"loading: it reads its data set; this ends by itself", {"LOADING"}},
    [REDIS_BUSY] = {"busy: a script has run there for too long; SCRIPT KILL ends it", {"BUSY"}},
    [REDIS_NOREPLICAS] = {"noreplicas: fewer replicas follow it than its min-replicas-to-write, or "
                          "redis.min_replicas, asks for",
                          {"NOREPLICAS"}},
    [REDIS_FUNCTION] = {"function: the queue's functions are not loaded; a hub or worker loads them",
                        {"ERR Function not found"}},
    [REDIS_OTHER] = {"other: it refuses; the log says how", {NULL}},
};

static uint64_t last_ms[REDIS_REFUSALS]; /* monotonic: when a kind last occurred, 0 = never */

_Static_assert(METRIC_REDIS_REFUSED_OTHER - METRIC_REDIS_REFUSED_NOPERM == REDIS_OTHER - REDIS_NOPERM,
               "a series for each kind, in their order");

static bool is_of(const char *error, enum redis_refusal kind)
{
    for (const char *const *begin = kinds[kind].begins; begin < kinds[kind].begins + 5 && *begin; begin++)
        if (strncmp(error, *begin, strlen(*begin)) == 0)
            return true;
    return false;
}

enum redis_refusal redis_refusal_of(const char *error)
{
    for (unsigned kind = REDIS_NOPERM; kind < REDIS_OTHER; kind++)
        if (is_of(error, (enum redis_refusal)kind))
            return (enum redis_refusal)kind;
    return REDIS_OTHER;
}

const char *redis_refusal_text(enum redis_refusal refusal)
{
    return kinds[refusal].text;
}

enum redis_refusal redis_refused(const char *error)
{
    enum redis_refusal kind = redis_refusal_of(error);
    uint64_t now = clock_mono_ms(), before = last_ms[kind];
    last_ms[kind] = now;
    metric_add((enum metric)(METRIC_REDIS_REFUSED_NOPERM + kind - REDIS_NOPERM), 1);
    if (before == 0 || now - before > LASTS_MS)
        log_warn("Redis refuses", "why", kinds[kind].text, "error", error);
    return kind;
}
