/* SPDX-License-Identifier: MIT */
/* Parsing INFO, and which servers are refused. */
#include "hub/redis/redis_facts.h"
#include "tests/lib/tap.h"

static void refuses(const char *info, bool allow, const char *want)
{
    struct redis_facts facts;
    redis_facts_read(span_of(info), &facts);
    const char *reason = redis_facts_refuse(&facts, allow, false);
    ok(want ? reason && strstr(reason, want) : reason == NULL, "%.40s: %s", info, reason ? reason : "fits");
}

static void test_facts(void)
{
    static const char good[] =
        "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n"
        "loading:0\r\naof_enabled:1\r\n";
    struct redis_facts facts;
    redis_facts_read(span_of(good), &facts);
    is_text(facts.version, "7.0.15", "version");
    is_int(facts.major, 7, "major version");
    ok(facts.aof, "append-only file");
    refuses(good, false, NULL);
    refuses("redis_version:6.2.1\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n", true, "7.0");
    refuses("redis_version:8.0.0\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n", false,
            "maxmemory-policy");
    refuses("redis_version:8.0.0\nmaxmemory_policy:allkeys-lru\naof_enabled:0", true, NULL);
    refuses("", false, "INFO");
    refuses("", true, "INFO");
    refuses("redis_version", false, "INFO");
}

static void test_volatile(void)
{
    struct redis_facts facts;
    redis_facts_read(SPAN("redis_version:8.0.0\r\nmaxmemory_policy:noeviction\r\naof_enabled:0\r\n"), &facts);
    ok(redis_facts_refuse(&facts, false, false) == NULL, "no append-only file: taken");
    const char *reason = redis_facts_refuse(&facts, false, true);
    ok(reason && strstr(reason, "redis.require_durable"), "refused where that is asked for");
    const char *warning = redis_facts_warn(&facts, false);
    ok(warning && strstr(warning, "lost"), "and what a crash loses is told");
    ok(redis_facts_warn(&facts, true) == NULL, "unless it is known");
    facts.aof = true;
    ok(redis_facts_warn(&facts, false) == NULL && redis_facts_refuse(&facts, false, true) == NULL,
       "with one nothing is said");
}

/* The answer of CONFIG GET about replicas. */
static void test_replicas(void)
{
    static struct {
        char told[8];
        int64_t wanted;
        const char *word; /* word of the reason, NULL = no reason */
    } rows[] = {{"2", 2, NULL},
                {"3", 2, NULL},
                {"1", 2, "min-replicas-to-write"},
                {"0", 1, "would go on"},
                {"", 1, "config|get"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        redisReply value = {.type = REDIS_REPLY_STRING, .str = rows[i].told}, name = value;
        redisReply *elements[] = {&name, &value};
        redisReply answer = {
            .type = REDIS_REPLY_ARRAY, .elements = *rows[i].told ? 2 : 0, .element = elements};
        const char *reason = redis_facts_refuse_replicas(&answer, rows[i].wanted);
        ok(rows[i].word ? reason && strstr(reason, rows[i].word) : reason == NULL, "%s told: %s",
           *rows[i].told ? rows[i].told : "nothing", reason ? reason : "taken");
    }
    redisReply refused = {.type = REDIS_REPLY_ERROR, .str = (char[]){"NOPERM"}};
    ok(redis_facts_refuse_replicas(&refused, 1) != NULL, "a user who may not ask");
}

int main(void)
{
    test_replicas();
    test_facts();
    test_volatile();
    return done_testing();
}
