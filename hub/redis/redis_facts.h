/* SPDX-License-Identifier: MIT */
/* What a Redis says about itself (INFO), and whether accepted tasks would survive there. Pure
 * functions; any thread. */
#pragma once

#include "hub/base/span.h"

#include <hiredis/hiredis.h>
#include <stdint.h>

struct redis_facts {
    char version[32];
    int major;       /* 0 = not told */
    char policy[32]; /* maxmemory_policy, "" = not told */
    bool aof;        /* aof_enabled */
};

/* Reads the text of INFO; what it does not say is 0 or "". */
void redis_facts_read(struct span info, struct redis_facts *ret);
/* Returns NULL if the server fits, else an English reason (fixed) that names the setting to change. With
 * `allow_volatile` only the version counts, with `require_durable` an append-only file, too. */
const char *redis_facts_refuse(const struct redis_facts *facts, bool allow_volatile, bool require_durable);
/* Returns what a crash of this server would lose (fixed), NULL if nothing, or if `allow_volatile` says that
 * this is known. */
const char *redis_facts_warn(const struct redis_facts *facts, bool allow_volatile);
/* What is asked for the next one. */
#define REDIS_ASK_REPLICAS "CONFIG", "GET", "min-replicas-to-write"
/* The same of redis.min_replicas (at least 1), by the answer of Redis to that. */
const char *redis_facts_refuse_replicas(const redisReply *answer, int64_t min_replicas);
