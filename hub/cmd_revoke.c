/* SPDX-License-Identifier: MIT */
/* `taskhub token revoke`; see commands.h. Writes into Redis what all hubs read. Runs a loop of its own while
 * that takes its time to answer. */
#include "hub/commands.h"

#include "hub/auth/bearers.h"
#include "hub/base/clock.h"
#include "hub/config/cli.h"
#include "hub/redis/private_redis.h"
#include "hub/redis/redis.h"
#include "tasks/queue/revocations.h"

#include <stdio.h>

#define ANSWER_MS 10000
#define CONFIRM_MS 2000 /* that replicas have it */

static const struct cli_command revoke_command = {
    .program = "taskhub",
    .name = "taskhub token revoke",
    .summary = "Revokes a token, by its jti or the token itself: within 2 s no hub of this Redis serves it.",
    .usage = "taskhub token revoke (JTI | TOKEN) [option…]",
};

struct revocation {
    struct loop loop;
    struct redis *redis;
    struct queue *queue;
    uv_timer_t *deadline;
    struct buf entry;
    int64_t until_s;
    bool done;
    char why[200];
};

static void finish(struct revocation *revocation)
{
    uv_stop(&revocation->loop.uv);
}

static void on_deadline(uv_timer_t *timer)
{
    finish(timer->data);
}

static void on_added(void *ctx, enum queue_code code)
{
    struct revocation *revocation = ctx;
    revocation->done = code == QUEUE_OK;
    finish(revocation);
}

static void on_up(void *ctx)
{
    struct revocation *revocation = ctx;
    queue_revoke(revocation->queue, buf_span(&revocation->entry), revocation->until_s, on_added, revocation);
}

static void on_down(void *ctx, const char *reason)
{
    struct revocation *revocation = ctx;
    snprintf(revocation->why, sizeof revocation->why, "%s", reason);
}

static void on_short(void *ctx)
{
    struct revocation *revocation = ctx;
    snprintf(revocation->why, sizeof revocation->why, "fewer replicas than redis.min_replicas have it");
}

/* Returns the exit code, after an error message. */
static int write_to(struct revocation *revocation, const char *address, unsigned min_replicas)
{
    const struct queue_config config = {.origin = "revoke", .reads_only = true};
    struct redis_url url;
    if (redis_url_parse(address, &url))
        abort(); /* it was checked with the options */
    if (loop_init(&revocation->loop) != 0)
        abort();
    snprintf(revocation->why, sizeof revocation->why, "it has no hub, or did not answer");
    revocation->deadline = loop_timer(&revocation->loop, revocation);
    revocation->redis =
        redis_new(&revocation->loop, &url, ANSWER_MS, (struct redis_hooks){on_up, on_down, revocation});
    if (min_replicas)
        redis_confirm(revocation->redis, min_replicas, CONFIRM_MS, on_short, revocation);
    revocation->queue = queue_new(&revocation->loop, revocation->redis, &config, (struct queue_hooks){0});
    uv_timer_start(revocation->deadline, on_deadline, ANSWER_MS, 0);
    uv_run(&revocation->loop.uv, UV_RUN_DEFAULT);
    redis_free(&revocation->redis);
    queue_free(&revocation->queue);
    redis_url_free(&url);
    loop_close(revocation->deadline);
    loop_deinit(&revocation->loop);
    if (!revocation->done)
        fprintf(stderr, "taskhub: the token was not revoked: Redis: %s\n", revocation->why);
    return revocation->done ? EXIT_FINE : EXIT_TROUBLE;
}

static int revoke_token(const struct options *options, const char *text)
{
    struct revocation revocation = {.entry = BUF_INIT};
    struct buf url CLEANUP(buf_free) = BUF_INIT;
    char token_id[TOKEN_ID_SIZE];
    int descriptor, code = EXIT_TROUBLE;
    int64_t expires_at;
    revocation.until_s = revocation_until(clock_wall_ms() / 1000, options->auth_max_ttl_s);
    if (!auth_token_id(span_of(text), token_id, &expires_at))
        auth_token_id_of_jti(span_of(text), token_id);
    else if (expires_at && expires_at + REVOCATION_MARGIN_S < revocation.until_s)
        revocation.until_s = expires_at + REVOCATION_MARGIN_S;
    revocation_of_token(&revocation.entry, token_id, revocation.until_s);
    if (*options->redis_url)
        code = write_to(&revocation, options->redis_url, (unsigned)options->redis_min_replicas);
    else if (private_redis_address(options, &url, &descriptor)) {
        buf_append_char(&url, '\0');
        code = write_to(&revocation, url.data, 0);
    } else
        fprintf(stderr, "taskhub: the hub of %s does not run\n", options->data_dir);
    buf_free(&revocation.entry);
    return code;
}

int cmd_token_revoke(int argc, char **argv)
{
    struct options options;
    int code;
    const char *text = argc > 1 && strncmp(argv[1], "--", 2) != 0 ? argv[1] : NULL;
    if (!cli_begin(&revoke_command, text ? argc - 1 : argc, text ? argv + 1 : argv, &options, &code))
        return code;
    if (text == NULL || *text == '\0')
        code = cli_usage_error(&revoke_command, xstrdup("a jti or a token is required"));
    else
        code = revoke_token(&options, text);
    options_free(&options);
    return code;
}
