/* The pool of threads: hand-over, order of reports and ends, cancel, calls to services, closing. Written to
 * be run under ThreadSanitizer too. */
#include "hub/base/clock.h"
#include "hub/config/options.h"
#include "tasks/runner/threads/pool.h"
#include "tests/lib/tap.h"

#include <sodium.h>

static struct loop loop;
static struct options options = {
    .result_bytes = 1000, .data_dir = (char[]){"."}, .database_url = (char[]){""}};
static struct pool *pool;
static unsigned ended, reports, starts;
static struct pool_report last_report;
static char last_meta[64], last_message[64];
static void (*held_reply)(void *ctx, json_t *answer);
static void *held_reply_ctx;
static uv_timer_t timer;

struct item {
    struct pool_job job;
    bool done;
};

static void on_done(struct pool_job *job)
{
    struct item *item = container_of(job, struct item, job);
    item->done = true;
    ended++;
}

static void on_report(void *ctx, const struct pool_report *report)
{
    (void)ctx;
    if (report->kind == POOL_STARTED) {
        starts++;
        return;
    }
    reports++;
    last_report = *report;
    snprintf(last_meta, sizeof last_meta, "%.*s", SPAN_ARG(report->meta));
    snprintf(last_message, sizeof last_message, "%.*s", SPAN_ARG(report->message));
}

static void on_call(void *ctx, struct pool_job *job, const char *service, const json_t *args,
                    void (*reply)(void *reply_ctx, json_t *answer), void *reply_ctx)
{
    (void)ctx;
    (void)job;
    if (strcmp(service, "never") == 0) {
        held_reply = reply;
        held_reply_ctx = reply_ctx;
        return;
    }
    reply(reply_ctx, json_pack("{s:I}", "twice", 2 * json_integer_value(json_object_get(args, "n"))));
}

static void start_pool(unsigned threads, unsigned max_queued, unsigned coalesce_ms)
{
    struct pool_config config = {.threads = threads,
                                 .max_queued = max_queued,
                                 .coalesce_ms = coalesce_ms,
                                 .options = &options,
                                 .call = on_call,
                                 .report = on_report};
    ended = reports = starts = 0;
    pool = pool_new(&loop, &config);
}

static void put(struct item *item, const struct task_type *type, const char *args)
{
    item->done = false;
    pool_job_init(pool, &item->job, type);
    item->job.ctx.id = "id";
    item->job.ctx.owner = "u1";
    item->job.ctx.attempt = 1;
    item->job.ctx.args_text = span_of(args);
    item->job.done = on_done;
    ok(pool_submit(pool, &item->job), "a job is taken");
}

static void run_until(unsigned want)
{
    uint64_t until = clock_mono_ms() + 20000;
    while (ended < want && clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
}

static void on_tick(uv_timer_t *handle)
{
    (void)handle; /* only so that uv_run() returns now and then */
}

/* ---- task types of this test --------------------------------------------------------------------- */

static void run_quick(struct task_ctx *ctx)
{
    task_finish(ctx, json_pack("{s:I}", "n", task_arg_int(ctx, "n", -1)));
}
static const struct task_type quick = {.name = "quick", .run = run_quick};

static void run_sleeper(struct task_ctx *ctx)
{
    if (task_sleep_ms(ctx, 30000))
        task_finish(ctx, NULL);
}
static const struct task_type sleeper = {.name = "sleeper", .run = run_sleeper};

static void run_caller(struct task_ctx *ctx)
{
    json_t *answer = task_call(ctx, "double", json_pack("{s:i}", "n", 21));
    if (answer)
        task_finish(ctx, answer);
    else
        task_fail(ctx, (struct task_error){"unavailable", true}, "no answer");
}
static const struct task_type caller = {.name = "caller", .run = run_caller};

static void run_stuck_caller(struct task_ctx *ctx)
{
    json_t *answer = task_call(ctx, "never", NULL);
    json_decref(answer);
    if (answer == NULL)
        task_fail(ctx, (struct task_error){"unavailable", true}, "no answer");
}
static const struct task_type stuck_caller = {.name = "stuck_caller", .run = run_stuck_caller};

static _Atomic int go;

static void run_reporter(struct task_ctx *ctx)
{
    task_meta(ctx, json_pack("{s:i}", "a", 1));
    task_progress(ctx, 30, "first", "one");
    task_progress(ctx, 20, NULL, NULL);
    while (atomic_load(&go) == 0)
        task_sleep_ms(ctx, 1);
    task_log(ctx, "line %d", 1);
    task_partial(ctx, json_pack("{s:s}", "text", "hi"), true);
    task_progress(ctx, 250, "last", "two");
    task_finish(ctx, NULL);
}
static const struct task_type reporter = {.name = "reporter", .run = run_reporter};

static void run_silent(struct task_ctx *ctx)
{
    (void)ctx;
}
static const struct task_type silent = {.name = "silent", .run = run_silent};

static void run_large(struct task_ctx *ctx)
{
    char text[1200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    task_finish(ctx, json_pack("{s:s}", "text", text));
}
static const struct task_type large = {.name = "large", .run = run_large};

/* ---- tests --------------------------------------------------------------------------------------- */

static void test_many(void)
{
    enum { COUNT = 2000 };
    struct item *items = xcalloc(COUNT, sizeof *items);
    start_pool(3, COUNT, 0);
    unsigned taken = 0, right = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        pool_job_init(pool, &items[i].job, &quick);
        items[i].job.ctx.args_text = SPAN("{\"n\":7}");
        items[i].job.done = on_done;
        taken += pool_submit(pool, &items[i].job);
        if (i % 100 == 99)
            uv_run(&loop.uv, UV_RUN_NOWAIT);
    }
    run_until(COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        right +=
            items[i].done && items[i].job.ctx.result && strcmp(items[i].job.ctx.result, "{\"n\":7}") == 0;
        task_ctx_clear(&items[i].job.ctx);
    }
    is_int(taken, COUNT, "all jobs are taken");
    is_int(right, COUNT, "every job ran once, with its arguments and result");
    is_int(pool_load(pool), 0, "nothing is left");
    pool_free(&pool);
    free(items);
}

static void test_bound(void)
{
    struct item items[4];
    start_pool(1, 2, 0);
    for (int i = 0; i < 3; i++)
        put(&items[i], &sleeper, NULL);
    pool_job_init(pool, &items[3].job, &sleeper);
    ok(!pool_submit(pool, &items[3].job), "a job beyond the bound is refused");
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    uint64_t from = clock_mono_ms();
    pool_cancel(pool, &items[0].job);
    run_until(1);
    ok(items[0].done && items[0].job.ctx.failed, "a cancelled job ends");
    is_text(items[0].job.ctx.error_code, "cancelled", "as cancelled");
    pool_free(&pool);
    ok(clock_mono_ms() - from < 5000, "sleeps end at once");
    ok(items[1].done && items[2].done, "closing ends all jobs");
    is_text(items[2].job.ctx.error_code, "interrupted", "one that never ran was interrupted");
    for (int i = 0; i < 3; i++)
        task_ctx_clear(&items[i].job.ctx);
}

static void test_cancelled_before_it_ran(void)
{
    struct item busy, waiting;
    start_pool(1, 2, 0);
    put(&busy, &sleeper, NULL);
    put(&waiting, &sleeper, NULL);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    pool_cancel(pool, &waiting.job);
    pool_cancel(pool, &busy.job);
    run_until(2);
    is_int(waiting.job.started_wall_ms, 0, "a job that was cancelled while it waited never runs");
    is_text(waiting.job.ctx.error_code, "cancelled", "it ends as cancelled");
    task_ctx_clear(&busy.job.ctx);
    task_ctx_clear(&waiting.job.ctx);
    pool_free(&pool);
}

static void test_calls(void)
{
    struct item item, stuck;
    start_pool(2, 10, 0);
    put(&item, &caller, NULL);
    run_until(1);
    is_text(item.job.ctx.result, "{\"twice\":42}", "a service answers");
    task_ctx_clear(&item.job.ctx);

    put(&stuck, &stuck_caller, NULL);
    while (held_reply == NULL)
        uv_run(&loop.uv, UV_RUN_ONCE);
    pool_cancel(pool, &stuck.job);
    run_until(2);
    is_text(stuck.job.ctx.error_code, "unavailable", "cancelling ends the wait for an answer");
    task_ctx_clear(&stuck.job.ctx);
    held_reply(held_reply_ctx, json_object());
    held_reply = NULL;

    put(&stuck, &stuck_caller, NULL);
    while (held_reply == NULL)
        uv_run(&loop.uv, UV_RUN_ONCE);
    pool_free(&pool);
    held_reply(held_reply_ctx, json_object());
    is_int(ended, 3, "an answer that comes after the pool went is dropped");
    task_ctx_clear(&stuck.job.ctx);
}

static void test_reports(void)
{
    struct item item;
    start_pool(1, 10, 0);
    atomic_store(&go, 0);
    put(&item, &reporter, NULL);
    for (int i = 0; i < 20; i++)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_int(reports, 0, "nobody listens: nothing is delivered");
    pool_listen(pool, &item.job);
    is_int(starts, 1, "listening tells that it runs already");
    is_int(reports, 1, "listening delivers the last progress");
    is_int(last_report.percent, 30, "progress never falls");
    is_text(last_report.stage, "first", "stage");
    is_text(last_meta, "{\"a\":1}", "meta stays with the progress that replaced it");
    is_text(last_message, "one", "message");
    atomic_store(&go, 1);
    run_until(1);
    is_int(reports, 4, "log, final piece and progress came before the end");
    is_int(last_report.percent, 100, "progress is at most 100");
    task_ctx_clear(&item.job.ctx);
    pool_free(&pool);
}

static void test_coalescing(void)
{
    struct item item;
    start_pool(1, 10, 3600000);
    atomic_store(&go, 0);
    put(&item, &reporter, NULL);
    for (int i = 0; i < 20; i++)
        uv_run(&loop.uv, UV_RUN_ONCE);
    pool_listen(pool, &item.job);
    atomic_store(&go, 1);
    while (ended == 0) {
        pool_collect(pool, &item.job);
        uv_run(&loop.uv, UV_RUN_ONCE);
    }
    ok(reports >= 3, "log and final piece are not coalesced (%u reports)", reports);
    task_ctx_clear(&item.job.ctx);
    pool_free(&pool);
}

static void test_ends(void)
{
    struct item item;
    start_pool(1, 10, 0);
    put(&item, &silent, NULL);
    run_until(1);
    is_int(starts, 0, "nobody listened");
    is_text(item.job.ctx.error_code, "internal", "a task without an end has failed");
    task_ctx_clear(&item.job.ctx);
    put(&item, &large, NULL);
    pool_listen(pool, &item.job);
    run_until(2);
    is_text(item.job.ctx.error_code, "result_too_large", "a result has a bound");
    is_int(starts, 1, "a job that is listened to says that it begins");
    task_ctx_clear(&item.job.ctx);
    pool_free(&pool);
}

int main(void)
{
    if (sodium_init() < 0 || loop_init(&loop) < 0)
        return 1;
    uv_timer_init(&loop.uv, &timer);
    uv_timer_start(&timer, on_tick, 1, 5);
    test_many();
    test_bound();
    test_cancelled_before_it_ran();
    test_calls();
    test_reports();
    test_coalescing();
    test_ends();
    uv_close((uv_handle_t *)&timer, NULL);
    loop_deinit(&loop);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(uv_loop_close(&loop.uv), 0, "no handle is left");
    return done_testing();
}
