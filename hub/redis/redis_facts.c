/* SPDX-License-Identifier: MIT */
/* Parses INFO; see redis_facts.h. Uses INFO instead of CONFIG, which managed servers forbid. */
#include "hub/redis/redis_facts.h"

#include <stdio.h>
#include <stdlib.h>

/* Copies the value of the line `name`, "" if there is none. */
static void info_value(struct span info, const char *name, char *to, size_t size)
{
    size_t n = strlen(name);
    const char *at = memmem(info.p, info.n, name, n);
    if (at)
        snprintf(to, size, "%.*s", (int)(info.n - (size_t)(at - info.p) - n), at + n);
    to[at ? strcspn(to, "\r\n") : 0] = '\0';
}

void redis_facts_read(struct span info, struct redis_facts *ret)
{
    char text[32];
    memset(ret, 0, sizeof *ret);
    info_value(info, "redis_version:", ret->version, sizeof ret->version);
    ret->major = (int)strtol(ret->version, NULL, 10);
    info_value(info, "maxmemory_policy:", ret->policy, sizeof ret->policy);
    info_value(info, "aof_enabled:", text, sizeof text);
    ret->aof = strcmp(text, "1") == 0;
}

const char *redis_facts_refuse(const struct redis_facts *facts, bool allow_volatile, bool require_durable)
{
    if (facts->major == 0)
        return "Redis does not say what it is: its user needs the command INFO (ACL SETUSER … +info)";
    if (facts->major < 7)
        return "Redis 7.0 or later is needed (it has functions)";
    if (!allow_volatile && strcmp(facts->policy, "noeviction") != 0)
        return "Redis may evict keys: set maxmemory-policy to noeviction there, or redis.allow_volatile = "
               "true here";
    if (require_durable && !facts->aof)
        return "Redis keeps no append-only file: set appendonly to yes there, or redis.require_durable = "
               "false here";
    return NULL;
}

const char *redis_facts_warn(const struct redis_facts *facts, bool allow_volatile)
{
    if (facts->aof || allow_volatile)
        return NULL;
    return "Redis keeps no append-only file: when it crashes, every task accepted since its last snapshot is "
           "lost, and all of them if it takes none; set appendonly to yes there";
}

/* `answer`: {name, value} */
const char *redis_facts_refuse_replicas(const redisReply *answer, int64_t min_replicas)
{
    int64_t number = -1;
    if (answer->type == REDIS_REPLY_ARRAY && answer->elements == 2 && answer->element[1]->str)
        number = strtoll(answer->element[1]->str, NULL, 10);
    if (number < 0)
        return "Redis does not tell its min-replicas-to-write, which redis.min_replicas needs: let its user "
               "ask "
               "(ACL SETUSER … +config|get)";
    if (number < min_replicas)
        return "Redis would go on without replicas: set min-replicas-to-write there to redis.min_replicas or "
               "more";
    return NULL;
}
