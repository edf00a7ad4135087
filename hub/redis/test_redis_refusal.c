/* SPDX-License-Identifier: MIT */
/* The meaning of Redis' errors; each kind is counted separately. */
#include "hub/base/metrics.h"
#include "hub/redis/redis_refusal.h"
#include "tests/lib/tap.h"

static const struct {
    const char *error, *word;
} errors[] = {
    {"NOPERM User hub has no permissions to run the 'fcall' command", "noperm:"},
    {"NOAUTH Authentication required.", "noauth:"},
    {"WRONGPASS invalid username-password pair or user is disabled.", "noauth:"},
    {"MOVED 8000 127.0.0.1:7001", "moved:"},
    {"CLUSTERDOWN Hash slot not served", "moved:"},
    {"READONLY You can't write against a read only replica.", "readonly:"},
    {"MASTERDOWN Link with MASTER is down", "readonly:"},
    {"MISCONF Errors writing to the AOF file: No space left on device", "misconf:"},
    {"OOM command not allowed when used memory > 'maxmemory'.", "oom:"},
    {"LOADING Redis is loading the dataset in memory", "loading:"},
    {"BUSY Redis is busy running a script.", "busy:"},
    {"NOREPLICAS Not enough good replicas to write.", "noreplicas:"},
    {"ERR Function not found", "function:"},
    {"ERR wrong number of arguments", "other:"},
    {"", "other:"},
};

static void test_words(void)
{
    for (size_t i = 0; i < NELEMS(errors); i++) {
        const char *text = redis_refusal_text(redis_refusal_of(errors[i].error));
        ok(strncmp(text, errors[i].word, strlen(errors[i].word)) == 0, "%s", errors[i].error);
    }
}

static void test_counts(void)
{
    is_int(redis_refused("READONLY You can't write"), REDIS_READONLY, "its kind is told");
    redis_refused("READONLY You can't write");
    redis_refused("what is this");
    is_int((int64_t)metrics[METRIC_REDIS_REFUSED_READONLY], 2, "counted as its kind");
    is_int((int64_t)metrics[METRIC_REDIS_REFUSED_OTHER], 1, "what is not known is counted, too");
    is_int((int64_t)metrics[METRIC_REDIS_REFUSED_OOM], 0, "and nothing else");
}

int main(void)
{
    test_words();
    test_counts();
    return done_testing();
}
