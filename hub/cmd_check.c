/* SPDX-License-Identifier: MIT */
/* `taskhub check [--audit] [--repair]`; see commands.h. Prints a line for each thing it looked at. Runs a
 * loop of its own while Redis takes its time to answer. Creates nothing. */
#include "hub/commands.h"

#include "hub/auth/keyfile.h"
#include "hub/base/child.h"
#include "hub/base/confine.h"
#include "hub/base/user.h"
#include "hub/config/cli.h"
#include "hub/config/moonshine_dir.h"
#include "hub/config/run_as.h"
#include "hub/json/json.h"
#include "hub/redis/private_redis.h"
#include "hub/redis/redis.h"
#include "hub/redis/redis_facts.h"
#include "tasks/model/task_type.h"
#include "tasks/queue/audit.h"
#include "tasks/queue/queue.h"
#include "tasks/store/schema.h"

#include <stdio.h>

#define ANSWER_MS 5000
#define AUDIT_MS 600000

static bool audit_wanted, repair_wanted;

static const struct option_flag check_flags[] = {
    {"--audit", NULL, "also check that every task record, queue and counter in Redis agrees", NULL,
     &audit_wanted},
    {"--repair", NULL, "mend what is wrong first, then audit; damaged tasks fail as corrupt", NULL,
     &repair_wanted},
    {.name = NULL},
};
static const struct cli_command check_command = {
    .program = "taskhub",
    .name = "taskhub check",
    .summary =
        "Checks configuration, keys, database and Redis. Exit code 0: fit; 1: something is wrong; 2: the\n"
        "configuration is.",
    .usage = "taskhub check [--audit] [--repair] [option…]",
    .flags = check_flags,
};

struct check {
    const struct options *options;
    struct loop loop;
    struct redis *redis;
    struct queue *queue;
    uv_timer_t *deadline;
    bool failed, misconfigured, done;
    bool refused;              /* Redis answers, and refuses */
    char why[200], where[200]; /* Redis does not answer: the last reason, and who was asked */
};

static void warn(const char *what, const char *text)
{
    printf("%-14s warn  %s\n", what, text);
}

static void say(struct check *check, bool fine, const char *what, const char *text)
{
    printf("%-14s %s  %s\n", what, fine ? "ok  " : "FAIL", text);
    if (!fine)
        check->failed = true;
}

static void finish(struct check *check)
{
    uv_stop(&check->loop.uv);
}

static void on_deadline(uv_timer_t *timer)
{
    finish(timer->data);
}

static void append_member(struct buf *to, struct span object, const char *name)
{
    struct span value = json_get(object, name);
    if (value.p)
        json_string_append(to, value);
}

/* Appends a line for each finding: rule, id, what. Returns how many there are. */
static size_t append_findings(struct buf *to, struct span findings)
{
    struct json_iter iter = json_walk(findings);
    struct span finding;
    size_t count = 0;
    for (; json_next_element(&iter, &finding); count++) {
        buf_printf(to, "%-14s       ", "");
        append_member(to, finding, "rule");
        buf_append_char(to, ' ');
        append_member(to, finding, "id");
        buf_append_text(to, ": ");
        append_member(to, finding, "what");
        buf_append_char(to, '\n');
    }
    return count;
}

static void on_audit(void *ctx, bool clean, struct span report)
{
    struct check *check = ctx;
    struct buf text CLEANUP(buf_free) = BUF_INIT, lines CLEANUP(buf_free) = BUF_INIT;
    size_t mended = append_findings(&lines, json_get(report, "mended"));
    if (repair_wanted)
        printf("%-14s %s  %zu mended\n%.*s", "repair", mended ? "warn" : "ok  ", mended,
               SPAN_ARG(buf_span(&lines)));
    buf_clear(&lines);
    size_t count = append_findings(&lines, json_get(report, "findings"));
    append_member(&text, report, "error");
    if (text.len == 0)
        buf_printf(&text, "%.*s tasks, %.*s owners, %zu findings", SPAN_ARG(json_get(report, "tasks")),
                   SPAN_ARG(json_get(report, "owners")), count);
    buf_append_char(&text, '\0');
    say(check, clean, "audit", text.data);
    fwrite(buf_span(&lines).p, 1, lines.len, stdout);
    check->done = true;
    finish(check);
}

/* Asks the function library, which a hub or worker must have loaded before: the auditor only reads. */
static void audit(struct check *check)
{
    uv_timer_start(check->deadline, on_deadline, AUDIT_MS, 0);
    audit_run(check->queue, repair_wanted, on_audit, check);
}

static void finish_redis(struct check *check)
{
    if (audit_wanted || repair_wanted) {
        audit(check);
        return;
    }
    check->done = true;
    finish(check);
}

/* A Redis that no hub has used lacks the functions; the first one loads them. */
static void on_probed(void *ctx, const struct queue_probed *probed)
{
    struct check *check = ctx;
    if (!probed->answered)
        return;
    if (probed->refusal == REDIS_FUNCTION)
        warn("queue",
             "its functions are not loaded: no hub has used this Redis yet; the first one loads them");
    else if (probed->refusal != REDIS_TAKES)
        say(check, false, "queue", redis_refusal_text(probed->refusal));
    else
        say(check, true, "queue", "its functions answer and write");
    for (const char *const *queue = probed->unserved; *queue; queue++) {
        char text[64];
        snprintf(text, sizeof text, "no worker serves queue %s", *queue);
        warn("workers", text);
    }
    finish_redis(check);
}

/* Loading the functions wants a right of its own. */
static void on_functions(void *ctx, const redisReply *reply)
{
    struct check *check = ctx;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        say(check, false, "queue", redis_refusal_text(redis_refusal_of(reply->str)));
        finish_redis(check);
        return;
    }
    queue_probe(check->queue, on_probed, check);
}

static void say_durability(struct check *check, const struct redis_facts *facts)
{
    const struct options *options = check->options;
    const char *refusal =
        redis_facts_refuse(facts, options->redis_allow_volatile, options->redis_require_durable);
    const char *losable = redis_facts_warn(facts, options->redis_allow_volatile);
    if (refusal)
        say(check, false, "redis", refusal);
    else if (losable)
        warn("durability", losable);
    else
        say(check, true, "durability",
            facts->aof ? "accepted tasks survive a crash" : "volatile, as allowed");
}

static void ask_functions(struct check *check)
{
    redis_callv(check->redis, on_functions, check, "FUNCTION", "LIST", "LIBRARYNAME", "taskhub_*", NULL);
}

static void on_replicas(void *ctx, const redisReply *reply)
{
    struct check *check = ctx;
    if (reply == NULL)
        return;
    const char *refusal = redis_facts_refuse_replicas(reply, check->options->redis_min_replicas);
    say(check, refusal == NULL, "replicas",
        refusal ? refusal : "it takes no write without redis.min_replicas");
    ask_functions(check);
}

static void on_info(void *ctx, const redisReply *reply)
{
    struct check *check = ctx;
    struct redis_facts facts;
    char text[200];
    if (reply == NULL)
        return;
    if (reply->type != REDIS_REPLY_STRING) {
        say(check, false, "redis", redis_refusal_text(redis_refusal_of(reply->str ? reply->str : "")));
        check->done = true;
        finish(check);
        return;
    }
    redis_facts_read((struct span){reply->str, (size_t)reply->len}, &facts);
    snprintf(text, sizeof text, "version %s, maxmemory-policy %s, appendonly %s", facts.version, facts.policy,
             facts.aof ? "yes" : "no");
    say(check, true, "redis", text);
    say_durability(check, &facts);
    if (check->options->redis_min_replicas)
        redis_callv(check->redis, on_replicas, check, REDIS_ASK_REPLICAS, NULL);
    else
        ask_functions(check);
}

static void on_up(void *ctx)
{
    struct check *check = ctx;
    redis_callv(check->redis, on_info, check, "INFO", NULL);
}

static void on_down(void *ctx, const char *reason)
{
    struct check *check = ctx;
    enum redis_refusal refusal = redis_refusal_of(reason);
    check->refused = refusal != REDIS_OTHER;
    snprintf(check->why, sizeof check->why, "%s", check->refused ? redis_refusal_text(refusal) : reason);
}

/* Asks the Redis at this address what it is. */
static void check_server(struct check *check, const char *address)
{
    struct redis_url url;
    if (redis_url_parse(address, &url))
        abort(); /* it was checked with the options */
    snprintf(check->why, sizeof check->why, "no answer");
    if (url.unix_path)
        snprintf(check->where, sizeof check->where, "%s", url.unix_path);
    else
        snprintf(check->where, sizeof check->where, "%s:%u%s", url.places[0].host, url.places[0].port,
                 url.place_count > 1 ? " and the others" : "");
    const struct queue_config config = {
        .origin = "check",
        .reads_only = true,
        .retention_heavy_ms = 1000 * (uint64_t)check->options->retention_heavy_s,
        .retention_light_ms = 1000 * (uint64_t)check->options->retention_light_s};
    check->redis = redis_new(&check->loop, &url, ANSWER_MS, (struct redis_hooks){on_up, on_down, check});
    check->queue = queue_new(&check->loop, check->redis, &config, (struct queue_hooks){0});
    redis_url_free(&url);
    uv_timer_start(check->deadline, on_deadline, ANSWER_MS, 0);
    uv_run(&check->loop.uv, UV_RUN_DEFAULT);
    redis_free(&check->redis);
    queue_free(&check->queue);
    if (!check->done) {
        char text[sizeof check->why + sizeof check->where + 80];
        snprintf(text, sizeof text, "%s: %s%s", check->where, check->why,
                 check->refused ? "" : "; is that server running? (redis.url, REDIS_URL)");
        say(check, false, "redis", text);
    }
}

/* Without redis.url: the private server of this data directory, if its hub runs. */
static void check_private(struct check *check)
{
    struct buf url CLEANUP(buf_free) = BUF_INIT;
    char *program CLEANUP(free_char) = NULL;
    int descriptor;
    if (private_redis_address(check->options, &url, &descriptor)) {
        buf_append_char(&url, '\0');
        check_server(check, url.data);
        return;
    }
    if (audit_wanted)
        say(check, false, "audit", "the private Redis does not run, so nothing was audited");
    program = child_find_program("redis-server");
    say(check, program != NULL, "redis",
        program ? "private, not running (`taskhub serve` starts it)"
                : "redis-server was not found; install it, or set redis.url");
}

static void check_configuration(struct check *check)
{
    char *reason = NULL;
    const char *file = check->options->config_path;
    if (task_types_route(check->options, &reason))
        say(check, true, "configuration", file ? file : "no file; defaults, environment and flags");
    else
        say(check, false, "configuration", reason);
    check->misconfigured = check->failed;
    free(reason);
}

/* Whom hub and worker would run as, if whoever runs this started them. */
static void check_user(struct check *check)
{
    const char *warning = run_as_warn(check->options), *name = check->options->user;
    struct user user;
    char text[128];
    snprintf(text, sizeof text, *name ? "%s" : "whoever starts it", name);
    if (warning)
        warn("user", warning);
    else if (*name && !user_find(name, &user))
        say(check, false, "user", "option user: there is no such user");
    else
        say(check, true, "user", text);
}

static void check_keys(struct check *check)
{
    char *reason CLEANUP(free_char) = NULL;
    if (keyfile_missing(check->options, &reason)) {
        say(check, false, "keys", reason);
        return;
    }
    struct keyring *ring = keyfile_load(check->options, &reason);
    say(check, ring != NULL, "keys", ring ? "the key ring loads" : reason);
    if (ring)
        keyring_free(&ring);
    else
        check->misconfigured = true;
}

static void check_database(struct check *check)
{
    char *reason CLEANUP(free_char) = NULL;
    const char *state;
    bool fine = store_check(check->options, &state, &reason);
    say(check, fine, "database", fine ? state : reason);
}

/* Which engine transcribes here. Only workers need one, so none is no failure. */
static void check_speech(const struct options *options)
{
    const char *engine = options->speech_engine;
    char *reason CLEANUP(free_char) = NULL, *text CLEANUP(free_char) = NULL;
    bool automatic = strcmp(engine, "auto") == 0;
    if ((!automatic && strcmp(engine, "moonshine") != 0) || moonshine_try(options, &reason)) {
        printf("%-14s ok    engine %s\n", "speech", automatic ? "moonshine" : engine);
        return;
    }
    text = xasprintf("%s%s; `taskhub speech fetch` brings the engine moonshine", reason,
                     automatic ? "; so the built-in engine transcribes, with many more mistakes" : "");
    warn("speech", text);
}

static void check_redis(struct check *check)
{
    if (loop_init(&check->loop) != 0)
        abort();
    check->deadline = loop_timer(&check->loop, check);
    if (*check->options->redis_url)
        check_server(check, check->options->redis_url);
    else
        check_private(check);
    loop_close(check->deadline);
    loop_deinit(&check->loop);
}

/* What keeps tasks in their place on this machine. None is needed. */
static void print_measures(void)
{
    for (enum confine_measure measure = 0; measure < CONFINE_MEASURES; measure++) {
        int error = confine_probe(measure);
        printf("%-14s %s  %s: ", "tasks", error ? "off " : "ok  ", confine_name(measure));
        if (error)
            printf("%s; so %s\n", strerror(error), confine_without(measure));
        else
            printf("%s\n", confine_meaning(measure));
    }
}

int cmd_check(int argc, char **argv)
{
    struct options options;
    struct check check = {.options = &options};
    int code;
    if (!cli_begin(&check_command, argc, argv, &options, &code))
        return code;
    check_configuration(&check);
    check_user(&check);
    check_keys(&check);
    check_database(&check);
    check_speech(&options);
    check_redis(&check);
    print_measures();
    options_free(&options);
    return check.misconfigured ? EXIT_USAGE : check.failed ? EXIT_TROUBLE : EXIT_FINE;
}
