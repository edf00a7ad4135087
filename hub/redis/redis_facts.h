/* SPDX-License-Identifier: MIT */
/* What a Redis reports about itself (INFO), and whether accepted tasks would survive there. Pure functions;
 * any thread. */
#pragma once

#include "hub/base/span.h"

#include <hiredis/hiredis.h>
#include <stdint.h>

struct redis_facts {
    char version[32];
    int major;       /* 0 = not reported */
    char policy[32]; /* maxmemory_policy, "" = not reported */
    bool aof;        /* aof_enabled */
};

/* Parses the text of INFO; members it does not report are 0 or "". */
void redis_facts_read(struct span info, struct redis_facts *ret);
/* Returns NULL if the server can be used, else an English reason (static text) that names the setting to
 * change. With `allow_volatile` only the version is checked; with `require_durable` also whether it has an
 * append-only file. */
const char *redis_facts_refuse(const struct redis_facts *facts, bool allow_volatile, bool require_durable);
/* Returns what a crash of this server would lose (English, static text); NULL if nothing, or if
 * `allow_volatile` accepts that. */
const char *redis_facts_warn(const struct redis_facts *facts, bool allow_volatile);
/* The command whose answer redis_facts_refuse_replicas() needs. */
#define REDIS_ASK_REPLICAS "CONFIG", "GET", "min-replicas-to-write"
/* As redis_facts_refuse(), for redis.min_replicas (at least 1), by Redis' answer to REDIS_ASK_REPLICAS. */
const char *redis_facts_refuse_replicas(const redisReply *answer, int64_t min_replicas);
