/* SPDX-License-Identifier: MIT */
/* The engine `threads`: hand-over, order of reports and ends, cancel, calls to services, closing; lanes, and
 * turns between owners. Also runs under ThreadSanitizer. */
#include "tasks/runner/threads/threads.h"

#include "hub/config/options.h"
#include "tasks/model/ctx.h"
#include "tests/lib/wait.h"

#include <sodium.h>

static struct options options = {
    .result_bytes = 1000, .data_dir = (char[]){"."}, .database_url = (char[]){""}};
static void *pool;
static struct list staged = {&staged, &staged};
static unsigned ended, refused, reports, starts;
static struct queue_update last_report;
static char last_stage[33], last_meta[64], last_message[64];
static _Atomic int go;     /* waiting jobs may end */
static struct run *asking; /* the run that called "never" */
static uint32_t asked;

struct item { /* the holder's part: how a run ended */
    bool done;
    unsigned place; /* its rank among the ends */
    enum queue_end_kind kind;
    char code[33], result[64];
};

static struct item *item_of(struct run *run)
{
    return (struct item *)((char *)run + (threads_engine.run_size + 15) / 16 * 16);
}

/* ---- what the engine says ------------------------------------------------------------------------ */

static void on_started(struct run *run)
{
    (void)run;
    starts++;
}

static void on_update(struct run *run, const struct queue_update *update)
{
    (void)run;
    reports++;
    last_report = *update;
    snprintf(last_stage, sizeof last_stage, "%s", update->stage ? update->stage : "");
    snprintf(last_meta, sizeof last_meta, "%.*s", SPAN_ARG(update->meta));
    snprintf(last_message, sizeof last_message, "%.*s", SPAN_ARG(update->message));
}

static void on_call(struct run *run, uint32_t call, const char *service, struct span args)
{
    char text[64];
    int64_t n = 0;
    if (strcmp(service, "never") == 0) {
        asking = run;
        asked = call;
        return;
    }
    if (!json_int(json_get(args, "n"), &n))
        n = 0;
    snprintf(text, sizeof text, "{\"twice\":%lld}", (long long)(2 * n));
    threads_engine.answer(pool, run, call, span_of(text));
}

static void on_ended(struct run *run, const struct queue_end *end, char *text)
{
    struct item *item = item_of(run);
    item->done = true;
    item->place = ++ended;
    if (end) {
        item->kind = end->kind;
        snprintf(item->code, sizeof item->code, "%.*s", SPAN_ARG(end->error_code));
        snprintf(item->result, sizeof item->result, "%.*s", SPAN_ARG(end->result));
    }
    free(text);
}

static void on_returned(struct run *run)
{
    (void)run;
    refused++;
}

static struct run *on_next(struct list *from)
{
    struct list *node = list_pop(from);
    return node ? container_of(node, struct run, place) : NULL;
}

static const struct engine_hooks hooks = {.next = on_next,
                                          .started = on_started,
                                          .update = on_update,
                                          .call = on_call,
                                          .ended = on_ended,
                                          .returned = on_returned};

static void start_pool(unsigned threads, unsigned max_queued, unsigned coalesce_ms)
{
    ended = refused = reports = starts = 0;
    atomic_store(&go, 0);
    options.light_threads = threads;
    options.light_queue = max_queued;
    options.light_slow_ms = 60000;
    options.progress_coalesce_ms = coalesce_ms;
    pool = threads_engine.start(&(struct engine_config){&loop, &options, &hooks, &staged});
}

static struct run *new_run(const struct task_type *type, const char *args)
{
    struct run *run = xcalloc(1, (threads_engine.run_size + 15) / 16 * 16 + sizeof(struct item));
    run->type = type;
    run->attempt = 1;
    run->args = span_of(args);
    return run;
}

static struct run *put(const struct task_type *type, const char *args)
{
    struct run *run = new_run(type, args);
    list_append(&staged, &run->place);
    return run;
}

/* A run whose reports are wanted from the beginning. */
static struct run *put_leased(const struct task_type *type)
{
    struct run *run = put(type, "{}");
    run->state = RUN_LEASED;
    return run;
}

/* Lets the engine take what was staged; returns how many runs it had no room for so far. */
static unsigned refused_now(void)
{
    loop_flush(&loop);
    ok(list_empty(&staged), "all are taken or refused");
    return refused;
}

static struct run *put_of(const char *owner, const struct task_type *type)
{
    struct run *run = put(type, "{}");
    snprintf(run->owner, sizeof run->owner, "%s", owner);
    return run;
}

static unsigned load(void)
{
    struct engine_health health;
    threads_engine.health(pool, 0, &health);
    return health.load;
}

static void run_until(unsigned want)
{
    (void)UNTIL(ended >= want);
}

static void on_tick(uv_timer_t *timer)
{
    unsigned *ticks = timer->data;
    ++*ticks;
}

/* Waits while the pool's timer, on the same loop, fires several times. */
static void let_ticks_pass(void)
{
    unsigned ticks = 0;
    uv_timer_t timer;
    uv_timer_init(&loop.uv, &timer);
    timer.data = &ticks;
    uv_timer_start(&timer, on_tick, 5, 5);
    (void)reach(&ticks, 20);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
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

static void run_held(struct task_ctx *ctx)
{
    while (atomic_load(&go) == 0 && task_sleep_ms(ctx, 1))
        ;
    task_finish(ctx, NULL);
}
static const struct task_type held = {.name = "held", .run = run_held};
static const struct task_type held_too = {.name = "held_too", .run = run_held};
static const struct task_type slow = {.name = "slow", .lane = LIGHT_SLOW, .run = run_held};
static const struct task_type request = {.name = "request", .lane = LIGHT_REQUEST, .run = run_quick};
static const struct task_type held_request = {.name = "held_request", .lane = LIGHT_REQUEST, .run = run_held};

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
    struct run **runs = xcalloc(COUNT, sizeof *runs);
    start_pool(3, COUNT, 0);
    unsigned right = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        runs[i] = put(&quick, "{\"n\":7}");
        if (i % 100 == 99)
            uv_run(&loop.uv, UV_RUN_NOWAIT);
    }
    run_until(COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        right += item_of(runs[i])->done && strcmp(item_of(runs[i])->result, "{\"n\":7}") == 0;
        free(runs[i]);
    }
    is_int(refused, 0, "all runs are taken");
    is_int(right, COUNT, "every one ran once, with its arguments and result");
    is_int(load(), 0, "nothing is left");
    threads_engine.stop(pool);
    free(runs);
}

static void test_bound(void)
{
    struct run *runs[3], *beyond;
    start_pool(1, 2, 0);
    ok(threads_engine.room(pool, 0) > 0, "an empty pool has room");
    for (int i = 0; i < 3; i++)
        runs[i] = put(&sleeper, "{}");
    is_int(refused_now(), 0, "so many may be there");
    beyond = put(&sleeper, "{}");
    is_int(refused_now(), 1, "a run beyond the bound is refused");
    is_int(threads_engine.room(pool, 0), 0, "and there is no room for leases");
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    uint64_t from = clock_mono_ms();
    threads_engine.cancel(pool, runs[0], STOP_RETURN);
    threads_engine.cancel(pool, runs[0], STOP_CANCEL);
    run_until(1);
    ok(item_of(runs[0])->done, "a cancelled run ends");
    is_int(item_of(runs[0])->kind, QUEUE_CANCELLED, "as cancelled");
    threads_engine.stop(pool);
    ok(in_time(clock_mono_ms() - from, 5000), "sleeps end at once");
    ok(item_of(runs[1])->done && item_of(runs[2])->done, "stopping ends all");
    is_text(item_of(runs[2])->code, "interrupted", "one that never ran was interrupted");
    for (int i = 0; i < 3; i++)
        free(runs[i]);
    free(beyond);
}

static void test_cancelled_before_it_ran(void)
{
    start_pool(1, 2, 0);
    struct run *busy = put(&sleeper, "{}"), *waiting = put(&sleeper, "{}");
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    threads_engine.cancel(pool, waiting, STOP_CANCEL);
    threads_engine.cancel(pool, busy, STOP_DRAIN);
    run_until(2);
    is_int(waiting->began_ms, 0, "a run that was cancelled while it waited never begins");
    is_text(item_of(waiting)->code, "cancelled", "it ends as cancelled");
    is_int(item_of(busy)->kind, QUEUE_RETURNED, "what a drain stops is given back");
    free(busy);
    free(waiting);
    threads_engine.stop(pool);
}

static struct run *put_stuck(void)
{
    struct run *run = put(&stuck_caller, "{}");
    ok(UNTIL(asking), "it asks");
    asking = NULL;
    return run;
}

static void test_calls(void)
{
    start_pool(2, 10, 0);
    struct run *run = put(&caller, "{}");
    run_until(1);
    is_text(item_of(run)->result, "{\"twice\":42}", "a service answers");
    free(run);

    run = put_stuck();
    threads_engine.cancel(pool, run, STOP_CANCEL);
    run_until(2);
    is_text(item_of(run)->code, "unavailable", "cancelling ends the wait for an answer");
    free(run);

    run = put_stuck();
    threads_engine.answer(pool, run, asked + 7, SPAN("{}"));
    threads_engine.answer(pool, run, asked, SPAN_NONE);
    run_until(3);
    is_text(item_of(run)->code, "unavailable", "a refusal is an answer, that of another call is none");
    free(run);

    run = put_stuck();
    threads_engine.stop(pool);
    ok(item_of(run)->done, "stopping ends the wait for an answer");
    free(run);
}

static void test_reports(void)
{
    start_pool(1, 10, 0);
    struct run *run = put(&reporter, "{}");
    int turns = 0;
    ok(UNTIL(run->began_ms) && UNTIL(turns++ == 20), "it runs for some turns");
    is_int(reports, 0, "nobody listens: nothing is delivered");
    threads_engine.listen(pool, run);
    is_int(starts, 1, "listening tells that it runs already");
    is_int(reports, 1, "listening delivers the last progress");
    is_int(last_report.percent, 30, "progress never falls");
    is_text(last_stage, "first", "stage");
    is_text(last_meta, "{\"a\":1}", "meta stays with the progress that replaced it");
    is_text(last_message, "one", "message");
    atomic_store(&go, 1);
    run_until(1);
    is_int(reports, 4, "log, final piece and progress came before the end");
    is_int(last_report.percent, 100, "progress is at most 100");
    free(run);
    threads_engine.stop(pool);
}

static void test_coalescing(void)
{
    start_pool(1, 10, 20);
    struct run *run = put_leased(&reporter);
    ok(UNTIL(reports && last_report.percent >= 30), "progress comes");
    ok(reports <= 3, "progress that comes too soon is passed on when it is time");
    unsigned before = reports;
    atomic_store(&go, 1);
    run_until(1);
    ok(reports >= before + 2, "log and final piece are not coalesced");
    free(run);
    threads_engine.stop(pool);
}

static void test_ends(void)
{
    start_pool(1, 10, 0);
    struct run *run = put(&silent, "{}");
    run_until(1);
    is_int(starts, 0, "nobody listened");
    is_text(item_of(run)->code, "internal", "a task without an end has failed");
    free(run);
    run = put_leased(&large);
    run_until(2);
    is_text(item_of(run)->code, "result_too_large", "a result has a bound");
    is_int(starts, 1, "a run that is listened to says that it begins");
    free(run);
    threads_engine.stop(pool);
}

/* Ends the waiting jobs, and the pool. */
static void release(struct run *const *runs, unsigned count)
{
    atomic_store(&go, 1);
    run_until(count);
    is_int(ended, count, "every run ends");
    is_int(load(), 0, "nothing is left");
    for (unsigned i = 0; i < count; i++)
        free(runs[i]);
    threads_engine.stop(pool);
}

static void test_turns_between_owners(void)
{
    enum { COUNT = 12 };
    struct run *runs[COUNT];
    start_pool(1, 20, 0);
    runs[0] = put_of("a", &held);
    for (unsigned i = 1; i < COUNT - 1; i++)
        runs[i] = put_of("a", &quick);
    let_ticks_pass();
    runs[COUNT - 1] = put_of("b", &quick);
    let_ticks_pass();
    atomic_store(&go, 1);
    run_until(COUNT);
    is_int(item_of(runs[COUNT - 1])->place, 3, "an owner's first waits for one task of another who has many");
    bool in_order = true;
    for (unsigned i = 2; i < COUNT - 1; i++)
        in_order &= item_of(runs[i])->place > item_of(runs[i - 1])->place;
    ok(in_order, "the tasks of one owner run in their order");
    release(runs, COUNT);
}

static void test_lanes(void)
{
    struct run *runs[7];
    start_pool(1, 20, 0);
    runs[0] = put_of("a", &slow);
    runs[1] = put_of("a", &slow);
    runs[2] = put_of("c", &quick);
    run_until(1);
    ok(item_of(runs[2])->done, "slow tasks leave a thread to quick ones");
    runs[3] = put_of("a", &held);
    runs[4] = put_of("c", &request);
    run_until(2);
    ok(item_of(runs[4])->done, "and all of them leave one to requests");
    runs[5] = put_of("a", &held_request);
    runs[6] = put_of("b", &held_request);
    let_ticks_pass();
    is_int(runs[1]->began_ms, 0, "a slow task waits while one runs");
    is_int(runs[6]->began_ms, 0, "as does a request");
    release(runs, 7);
}

static unsigned begun(struct run *const *runs, unsigned count)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++)
        n += runs[i]->began_ms != 0;
    return n;
}

/* Others' first slow tasks begin although one owner's fill the lane, up to as many again. */
static void test_nobody_fills_the_slow_lane(void)
{
    enum { COUNT = 11 };
    struct run *runs[COUNT];
    start_pool(2, 40, 0);
    for (unsigned i = 0; i < 6; i++)
        runs[i] = put_of("a", &slow);
    ok(UNTIL(begun(runs, 6) == 2), "who is alone has the whole lane");
    runs[6] = put_of("b", &slow);
    runs[7] = put_of("b", &slow);
    ok(UNTIL(runs[6]->began_ms), "another's first begins meanwhile");
    let_ticks_pass();
    is_int(begun(runs, 8), 3, "and nothing else");
    runs[8] = put_of("c", &slow);
    ok(UNTIL(runs[8]->began_ms), "as does that of one more");
    runs[9] = put_of("d", &slow);
    let_ticks_pass();
    is_int(begun(runs, 10), 4, "at most twice as many run");
    runs[10] = put_of("a", &quick);
    run_until(1);
    ok(item_of(runs[10])->done, "quick ones have their threads");
    release(runs, COUNT);
}

/* The loop does not run here, so no tick helps. */
static void test_idle_lanes(void)
{
    struct run *runs[3];
    start_pool(1, 20, 0);
    runs[0] = put_of("a", &held);
    runs[1] = put_of("b", &held_request);
    runs[2] = put_of("c", &slow);
    loop_flush(&loop);
    uint64_t begun = clock_mono_ms();
    while (!(runs[0]->began_ms && runs[1]->began_ms && runs[2]->began_ms) &&
           in_time(clock_mono_ms() - begun, 10000))
        uv_sleep(1);
    ok(runs[0]->began_ms && runs[1]->began_ms && runs[2]->began_ms, "each lane begins at once");
    release(runs, 3);
}

static void test_full_lanes(void)
{
    struct run *runs[8], *beyond[2];
    start_pool(1, 4, 0);
    for (unsigned i = 0; i < 3; i++)
        runs[i] = put_of("a", &slow);
    beyond[0] = put(&slow, "{}");
    is_int(refused_now(), 1, "slow tasks that wait leave half of the queue");
    for (unsigned i = 3; i < 5; i++)
        runs[i] = put_of("a", &held);
    beyond[1] = put(&quick, "{}");
    is_int(refused_now(), 2, "to quick ones");
    for (unsigned i = 5; i < 8; i++)
        runs[i] = put_of("a", &request);
    run_until(3);
    ok(item_of(runs[7])->done, "requests are taken when the queue is full");
    free(beyond[0]);
    free(beyond[1]);
    release(runs, 8);
}

/* Two types not known to be slow, with several runs each. */
static void test_slow_ones_are_found_out(void)
{
    enum { HELD = 10, AGAIN = 16 };
    struct run *runs[HELD + 2 + AGAIN + 2];
    unsigned count = 0, began = 0;
    start_pool(1, 100, 0);
    options.light_slow_ms = 20;
    for (unsigned i = 0; i < HELD; i++)
        runs[count++] = put_of("a", i % 3 ? &held : &held_too);
    runs[count++] = put_of("c", &quick);
    run_until(1);
    ok(item_of(runs[HELD])->done, "a quick task ends although slow ones were there before it");
    for (unsigned i = 0; i < HELD; i++)
        began += runs[i]->began_ms != 0;
    is_int(began, 2, "one of each type was tried");
    let_ticks_pass();
    runs[count++] = put_of("c", &held);
    let_ticks_pass();
    is_int(runs[HELD + 1]->began_ms, 0, "what is known to be slow waits with the slow ones");
    atomic_store(&go, 1);
    run_until(count);
    for (unsigned i = 0; i < AGAIN; i++)
        runs[count++] = put_of("a", &held);
    run_until(count);
    atomic_store(&go, 0);
    runs[count++] = put_of("a", &slow);
    let_ticks_pass();
    runs[count] = put_of("a", &held);
    (void)UNTIL(runs[count]->began_ms);
    ok(runs[count++]->began_ms != 0, "after enough quick runs a type is quick again");
    release(runs, count);
}

int main(void)
{
    if (sodium_init() < 0 || loop_init(&loop) < 0)
        return 1;
    test_many();
    test_bound();
    test_cancelled_before_it_ran();
    test_calls();
    test_reports();
    test_coalescing();
    test_ends();
    test_turns_between_owners();
    test_lanes();
    test_nobody_fills_the_slow_lane();
    test_idle_lanes();
    test_full_lanes();
    test_slow_ones_are_found_out();
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(loop_deinit(&loop), 0, "no handle is left");
    return done_testing();
}
