/* SPDX-License-Identifier: MIT */
/* Bulk producer: puts COUNT tasks `noop_heavy {"steps":0}` of one user straight into the queue, as fast
 * as Redis takes them, and prints {"enqueued":COUNT,"s":seconds}. Feeds drain measurements, so the
 * limits of users do not apply.
 *
 *     bulk [OPTION…] COUNT USER        options and environment as those of taskhub (REDIS_URL) */
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "hub/redis/redis.h"
#include "tasks/queue/queue.h"
#include "tasks/queue/shard.h"

#include <sodium.h>
#include <stdio.h>

#define WINDOW 4000          /* submissions without an answer */
#define NO_LIMIT 1000000000u /* more than anybody queues */

static struct {
    struct loop loop;
    struct redis *redis;
    struct queue *queue;
    const char *user;
    uint64_t count, submitted, answered, refused, began_us;
} run;

static void submit_more(void);

static void on_submitted(void *ctx, const struct queue_submitted *submitted)
{
    (void)ctx;
    run.answered++;
    run.refused += submitted->code != QUEUE_OK;
    if (run.answered == run.count)
        uv_stop(&run.loop.uv);
    else if (run.submitted - run.answered < WINDOW / 2)
        submit_more();
}

static void submit_more(void)
{
    while (run.submitted < run.count && run.submitted - run.answered < WINDOW) {
        char id[ID_SIZE];
        shard_task_id(id, span_of(run.user));
        const struct queue_submit submit = {
            .id = id,
            .owner = run.user,
            .task = "noop_heavy",
            .queue = "default",
            .args = SPAN("{\"steps\":0}"),
            .priority = 4,
            .max_attempts = 3,
            .backoff_base_ms = 1000,
            .backoff_cap_ms = 60000,
        };
        run.submitted++;
        queue_submit(run.queue, &submit, on_submitted, NULL);
    }
}

static void on_ready(void *ctx, enum queue_code code, const char *reason)
{
    (void)ctx;
    if (code != QUEUE_OK) {
        fprintf(stderr, "bulk: %s\n", reason);
        exit(1);
    }
    if (run.began_us)
        return; /* connected again */
    run.began_us = clock_mono_us();
    submit_more();
}

static void on_up(void *ctx)
{
    (void)ctx;
    queue_load(run.queue, on_ready, NULL);
}

static void on_down(void *ctx, const char *reason)
{
    (void)ctx;
    fprintf(stderr, "bulk: Redis: %s\n", reason);
    exit(1);
}

static void connect_queue(const struct options *options)
{
    struct redis_url url;
    const char *why;
    if ((why = redis_url_parse(options->redis_url, &url)) != NULL) {
        fprintf(stderr, "bulk: redis.url: %s\n", why);
        exit(2);
    }
    const struct queue_config config = {
        .origin = "bulk",
        .lease_ms = 15000,
        .user_tasks = NO_LIMIT,
        .global_tasks = NO_LIMIT,
        .retention_heavy_ms = (uint64_t)options->retention_heavy_s * 1000,
        .retention_light_ms = (uint64_t)options->retention_light_s * 1000,
    };
    run.redis = redis_new(&run.loop, &url, 30000, (struct redis_hooks){on_up, on_down, NULL});
    run.queue = queue_new(&run.loop, run.redis, &config, (struct queue_hooks){0});
    redis_url_free(&url);
}

int main(int argc, char **argv)
{
    struct options options;
    char *reason = NULL;
    int rest = argc;
    if (sodium_init() < 0 || !options_load(&options, argc, argv, NULL, &rest, &reason)) {
        fprintf(stderr, "bulk: %s\n", reason ? reason : "libsodium does not start");
        return 2;
    }
    if (argc - rest != 2 || (run.count = strtoull(argv[rest], NULL, 10)) == 0) {
        fprintf(stderr, "usage: bulk [OPTION…] COUNT USER\n");
        return 2;
    }
    run.user = argv[rest + 1];
    log_setup("bulk", "warn", "logfmt");
    if (loop_init(&run.loop) < 0)
        return 1;
    connect_queue(&options);
    uv_run(&run.loop.uv, UV_RUN_DEFAULT);
    double seconds = (double)(clock_mono_us() - run.began_us) / 1e6;
    printf("{\"enqueued\":%llu,\"s\":%.4f}\n", (unsigned long long)(run.answered - run.refused), seconds);
    queue_free(&run.queue);
    redis_free(&run.redis);
    options_free(&options);
    return run.refused ? 1 : 0;
}
