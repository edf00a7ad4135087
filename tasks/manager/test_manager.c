/* SPDX-License-Identifier: MIT */
/* The one door: checks in their order, light tasks recorded once or leased, bounds, leases, draining. The
 * queue, its Redis and the pool are real. */
#include "tasks/manager/manager.h"

#include "hub/base/clock.h"
#include "hub/config/options.h"
#include "tasks/model/ctx.h"
#include "tests/lib/queue_side.h"

#include <stdatomic.h>

static struct side mine; /* the hub under test, new with every test */
static struct manager *manager;
static struct options options;
static struct owners *owners;
static unsigned replies, accepted, duplicates;
static struct task_reply last;
static char last_event[256], last_id[ID_SIZE];
static _Atomic int go;        /* lets slow tasks end */
static _Atomic unsigned runs; /* of any task */

/* ---- task types of this test ---------------------------------------------------------------------- */

static void run_quick(struct task_ctx *ctx)
{
    atomic_fetch_add(&runs, 1);
    task_finish(ctx, json_pack("{s:I}", "n", task_arg_int(ctx, "n", 0)));
}

static void run_slow(struct task_ctx *ctx)
{
    task_progress(ctx, 10, "working", "begun");
    while (atomic_load(&go) == 0 && task_sleep_ms(ctx, 1))
        ;
    if (!task_cancelled(ctx))
        task_finish(ctx, NULL);
    atomic_fetch_add(&runs, 1);
}

static void run_flaky(struct task_ctx *ctx)
{
    atomic_fetch_add(&runs, 1);
    task_fail(ctx, (struct task_error){"database", true}, "busy");
}

static void run_bad(struct task_ctx *ctx)
{
    task_fail(ctx, (struct task_error){"no_such_thing", false}, "there is none");
}

static const struct json_field args[] = {
    {.name = "n", .kinds = KIND_INTEGER, .min = 0, .max = 30000},
    {.name = "user_id", .kinds = KIND_STRING},
};

static bool check_odd(const struct span *values, struct json_field_error *ret_error)
{
    int64_t n;
    if (values[0].p == NULL || (json_int(values[0], &n) && n % 2))
        return true;
    snprintf(ret_error->field, sizeof ret_error->field, "n");
    snprintf(ret_error->message, sizeof ret_error->message, "n: must be odd");
    return false;
}

#define ARGS .args = args, .arg_count = NELEMS(args)
#define LIGHT ARGS, .repeatable = true
static const struct task_type *const types[] = {
    &(const struct task_type){.name = "quick", LIGHT, .run = run_quick},
    &(const struct task_type){.name = "slow", LIGHT, .run = run_slow},
    &(const struct task_type){.name = "flaky",
                              LIGHT,
                              .run = run_flaky,
                              .max_attempts = 2,
                              .backoff_base_ms = 1,
                              .backoff_cap_ms = 1},
    &(const struct task_type){.name = "bad", LIGHT, .run = run_bad},
    &(const struct task_type){.name = "odd", LIGHT, .run = run_quick, .check = check_odd},
    &(const struct task_type){.name = "mine", LIGHT, .run = run_quick, .owner_arg = "user_id"},
    &(const struct task_type){.name = "maintenance", LIGHT, .run = run_quick, .admin = true},
    &(const struct task_type){.name = "hidden", LIGHT, .run = run_quick, .diagnostics = true},
    &(const struct task_type){.name = "once", ARGS, .run = run_quick},
    &(const struct task_type){.name = "heavy", ARGS, .kind = TASK_HEAVY, .queue = "live"},
    &(const struct task_type){.name = "speech", ARGS, .kind = TASK_HEAVY, .queue = "live", .stream = true},
    NULL,
};

/* ---- helpers --------------------------------------------------------------------------------------- */

static struct principal user = {.user_id = (char[]){"u1"}},
                        admin = {.user_id = (char[]){"root"}, .roles = ROLE_ADMIN};

static void on_reply(void *ctx, const struct task_reply *reply)
{
    (void)ctx;
    replies++;
    accepted += reply->refusal == TASK_ACCEPTED;
    duplicates += reply->refusal == TASK_DUPLICATE;
    last = *reply;
    memcpy(last_id, reply->id, ID_SIZE);
    last_event[0] = '\0';
    if (reply->news.event)
        snprintf(last_event, sizeof last_event, "%c %llu %.*s", reply->news.event->type->code,
                 (unsigned long long)reply->news.event->seq, (int)reply->news.event->size,
                 reply->news.event->body);
}

static void submit_as(const struct principal *who, const char *task, const char *text)
{
    struct task_request request = {.who = who, .task = task, .args = span_of(text), .priority = 4};
    task_manager_submit(manager, &request, on_reply, NULL);
}

static void submit_task(const char *task, const char *text)
{
    submit_as(&user, task, text);
}

static void wait_replies(unsigned want)
{
    ok(reach(&replies, want), "answered");
}

/* Until nothing is held. */
static void wait_idle(void)
{
    ok(UNTIL(manager_load(manager) == 0), "nothing is left");
}

static void wait_runs(unsigned want)
{
    ok(UNTIL(atomic_load(&runs) >= want), "it ran");
}

static void is_status(const char *id, const char *status)
{
    char copy[ID_SIZE];
    memcpy(copy, id, ID_SIZE);
    queue_get(hub.queue, &caller, copy, on_answer, NULL);
    finish(1);
    is_text(told.answer.status, status, "status of the record");
}

/* Until the record says it. */
static void wait_status(const char *id, const char *status)
{
    char copy[ID_SIZE];
    uint64_t until = clock_mono_ms() + 10000;
    memcpy(copy, id, ID_SIZE);
    do {
        queue_get(hub.queue, &caller, copy, on_answer, NULL);
        finish(1);
    } while (strcmp(told.answer.status, status) != 0 && clock_mono_ms() < until);
    is_text(told.answer.status, status, "status of the record");
}

static void begin(void)
{
    static char empty[] = "";
    options = (struct options){.data_dir = empty,
                               .database_url = empty,
                               .routes = empty,
                               .args_bytes = 100,
                               .result_bytes = 1000,
                               .user_light = 3,
                               .light_queue = 100,
                               .light_threads = 2,
                               .light_fuse_us = 5000,
                               .lease_ms = 15000};
    replies = accepted = duplicates = 0;
    atomic_store(&go, 0);
    atomic_store(&runs, 0);
    open_side(&mine, "hub/m", true, "m");
    owners = owners_new(&loop, queue_feed_source(mine.feed));
    struct manager_config config = {
        .options = &options, .loop = &loop, .queue = mine.queue, .owners = owners};
    manager = manager_new(&config);
    manager_redis(manager, true);
}

/* In the order of a hub that ends. */
static void end(void)
{
    leave_side(&mine);
    redis_free(&mine.commands);
    owners_free(&owners);
    queue_feed_free(&mine.feed);
    queue_free(&mine.queue);
    manager_free(&manager);
    redis_free(&mine.subscriber);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static void redis_again(void)
{
    struct side *const sides[] = {&hub, &other, &worker, &mine};
    unsigned up[NELEMS(sides)];
    for (size_t i = 0; i < NELEMS(sides); i++)
        up[i] = sides[i]->ready;
    redis_server_start(&server);
    for (size_t i = 0; i < NELEMS(sides); i++)
        ok(reach(&sides[i]->ready, up[i] + 1), "Redis is back");
}

/* ---- tests ----------------------------------------------------------------------------------------- */

static void test_checks(void)
{
    char allowed[] = "\nslow\n", long_args[200];
    struct principal narrow = {.user_id = (char[]){"u1"}, .tasks = allowed};
    begin();
    submit_task("nothing", "{}");
    is_int(last.refusal, TASK_UNKNOWN_TYPE, "an unknown type is refused");
    submit_task("hidden", "{}");
    is_int(last.refusal, TASK_UNKNOWN_TYPE, "a diagnostic type does not exist");
    submit_task("quick:x\n", "{}");
    is_int(last.refusal, TASK_UNKNOWN_TYPE, "an odd name is no type");
    submit_as(&narrow, "quick", "{}");
    is_int(last.refusal, TASK_TYPE_NOT_IN_TOKEN, "the token's list counts");
    submit_task("maintenance", "{}");
    is_int(last.refusal, TASK_ROLE, "a role is missing");
    submit_task("speech", "{}");
    is_int(last.refusal, TASK_NEEDS_STREAM, "a stream type takes audio.start");
    struct task_request request = {.who = &user, .task = "quick", .stream = true};
    task_manager_submit(manager, &request, on_reply, NULL);
    is_int(last.refusal, TASK_NO_STREAM, "another type takes no stream");
    snprintf(long_args, sizeof long_args, "{\"n\":1%120s}", "");
    submit_task("quick", long_args);
    is_int(last.refusal, TASK_ARGS_TOO_LARGE, "arguments have a bound");
    submit_task("quick", "[1]");
    is_text(last.error.field, "args", "arguments are an object");
    submit_task("quick", "{\"m\":1}");
    is_int(last.refusal, TASK_BAD_ARGS, "an unknown argument is refused");
    is_text(last.error.field, "m", "and named");
    submit_task("quick", "{\"n\":\"1\"}");
    is_text(last.error.message, "n: must be an integer", "the message says what is expected");
    submit_task("odd", "{\"n\":2}");
    is_text(last.error.message, "n: must be odd", "the type's own check counts");
    submit_task("mine", "{\"user_id\":\"u2\"}");
    is_int(last.refusal, TASK_ROLE, "naming another user takes the role admin");
    is_int(replies, 13, "every refusal came at once");
    is_int(manager_load(manager), 0, "and left no trace");
    end();
}

static void test_recorded_once(void)
{
    begin();
    submit_task("quick", "{\"n\":7}");
    is_int(replies, 0, "no answer before Redis has it");
    wait_replies(1);
    is_int(last.refusal, TASK_ACCEPTED, "accepted");
    is_text(last.status, "pending", "status");
    is_text(last.news.owner, "u1", "owner");
    char want[256], id[ID_SIZE];
    memcpy(id, last_id, ID_SIZE);
    snprintf(want, sizeof want,
             "C %llu {\"task_id\":\"%s\",\"task\":\"quick\",\"user_id\":\"u1\",\"type\":\"completed\",",
             (unsigned long long)last.seq, id);
    ok(strncmp(last_event, want, strlen(want)) == 0, "the terminal event, at its place in the log");
    is_status(id, "completed");
    ok(strstr(told.json, "\"result\":{\"n\":7}") != NULL, "with its result");
    submit_task("bad", "{}");
    wait_replies(2);
    is_int(last_event[0], 'X', "a failure is recorded the same way");
    is_status(last_id, "failed");
    ok(strstr(told.json, "no_such_thing") != NULL, "with its code");
    is_int(manager_load(manager), 0, "nothing is left");
    end();
}

static void test_slow(void)
{
    char id[ID_SIZE];
    begin();
    struct owner_source source = queue_feed_source(mine.feed);
    source.attach(source.ctx, owner, on_position, NULL);
    finish(1);
    forget_events();
    submit_task("slow", "{\"n\":60}");
    wait_replies(1);
    memcpy(id, last_id, ID_SIZE);
    is_int(last.refusal, TASK_ACCEPTED, "past the fuse it is recorded and accepted");
    ok(last.news.event == NULL, "and not ended");
    ok(reach(&told.count, 2), "it runs already; what it said before is told now");
    is_text(codes(), "mSmP", "start, progress");
    ok(strstr(told.events[1].body, "begun") != NULL, "with its message");
    is_status(id, "processing");
    atomic_store(&go, 1);
    wait_idle();
    is_status(id, "completed");
    end();
}

static void test_late_record(void)
{
    char id[ID_SIZE];
    begin();
    kill(server.pid, SIGSTOP);
    submit_task("slow", "{}");
    atomic_store(&go, 1);
    wait_runs(1);
    for (uint64_t until = clock_mono_ms() + 20; clock_mono_ms() < until;)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    is_int(replies, 0, "done before its record was confirmed: it waits");
    kill(server.pid, SIGCONT);
    wait_replies(1);
    memcpy(id, last_id, ID_SIZE);
    wait_idle();
    is_status(id, "completed");
    end();
}

static void test_redis_gone(void)
{
    char id[ID_SIZE];
    begin();
    submit_task("slow", "{}");
    wait_replies(1);
    memcpy(id, last_id, ID_SIZE);
    submit_task("slow", "{}");
    redis_server_kill(&server);
    wait_replies(2);
    is_int(last.refusal, TASK_UNAVAILABLE, "not recorded: refused");
    manager_redis(manager, false);
    submit_task("quick", "{}");
    is_int(last.refusal, TASK_UNAVAILABLE, "without Redis nothing is taken");
    atomic_store(&go, 1);
    wait_runs(1); /* the other one may have been refused before a thread came for it */
    ok(UNTIL(manager_load(manager) == 1),
       "an end that Redis did not take is kept, an outcome without record not");
    redis_again();
    manager_redis(manager, true);
    wait_idle();
    is_status(id, "completed");
    end();
}

static void test_record_first(void)
{
    struct task_request request = {
        .who = &user, .task = "once", .args = SPAN("{}"), .idempotency_key = SPAN("once")};
    char id[ID_SIZE];
    begin();
    task_manager_submit(manager, &request, on_reply, NULL);
    wait_replies(1);
    memcpy(id, last_id, ID_SIZE);
    ok(last.news.event == NULL, "what must not run twice is recorded before it runs");
    wait_idle();
    is_status(id, "completed");
    task_manager_submit(manager, &request, on_reply, NULL);
    wait_replies(2);
    is_int(last.refusal, TASK_DUPLICATE, "a duplicate is told");
    is_text(last_id, id, "with the older id");
    wait_idle();
    is_int(atomic_load(&runs), 1, "and not run");
    request.idempotency_key = SPAN_NONE;
    request.delay_ms = 3600000;
    task_manager_submit(manager, &request, on_reply, NULL);
    wait_replies(3);
    is_int(last.refusal, TASK_ACCEPTED, "a delayed one is accepted");
    is_status(last_id, "pending");
    is_int(manager_load(manager), 0, "and does not run here now");
    end();
}

/* With a key or without, what may run twice runs first; what else comes with its key meanwhile waits. */
static void test_keys(void)
{
    struct task_request request = {
        .who = &user, .task = "quick", .args = SPAN("{\"n\":1}"), .idempotency_key = SPAN("k")};
    char id[ID_SIZE];
    begin();
    for (int i = 0; i < 3; i++)
        task_manager_submit(manager, &request, on_reply, NULL);
    wait_replies(3);
    is_int(accepted, 1, "of three at a time one is accepted");
    is_int(duplicates, 2, "the others are duplicates");
    is_int(atomic_load(&runs), 1, "and it ran once");
    memcpy(id, last_id, ID_SIZE);
    is_status(id, "completed");
    request.args = SPAN("{\"n\":2}");
    task_manager_submit(manager, &request, on_reply, NULL);
    wait_replies(4);
    is_int(last.refusal, TASK_MISMATCH, "other arguments are a mismatch");
    request.who = &admin;
    task_manager_submit(manager, &request, on_reply, NULL);
    wait_replies(5);
    is_int(last.refusal, TASK_ACCEPTED, "another owner's key is another one");
    wait_idle();
    end();
}

static void test_retry(void)
{
    begin();
    submit_task("flaky", "{}");
    wait_replies(1);
    is_int(last.refusal, TASK_ACCEPTED, "a failure that may be tried again gets a record");
    wait_status(last_id, "failed");
    is_int(atomic_load(&runs), 2, "and another attempt");
    wait_idle();
    end();
}

static unsigned internals;
static char internal_text[64];
static void on_internal(void *ctx, bool failed, const char *code, struct span result)
{
    (void)ctx;
    internals++;
    snprintf(internal_text, sizeof internal_text, "%s %.*s", failed ? code : "ok", SPAN_ARG(result));
}

static enum task_refusal run_internal(const struct task_type *type)
{
    return manager_run_internal(manager, type, "u1", SPAN("{\"n\":3}"), on_internal, NULL);
}

static void test_bounds(void)
{
    begin();
    options.light_fuse_us = 60000000;
    for (int i = 0; i < 4; i++)
        submit_task("slow", "{}");
    is_int(last.refusal, TASK_USER_LIMIT, "a user has a bound");
    submit_as(&admin, "slow", "{}");
    is_int(replies, 1, "which is his own");
    end();
    begin();
    options.light_fuse_us = 60000000;
    options.user_light = 1000;
    unsigned busy = 0;
    for (int i = 0; i < 110; i++) {
        last.refusal = TASK_ACCEPTED;
        submit_task("slow", "{}");
        loop_flush(&loop); /* to the pool */
        busy += last.refusal == TASK_BUSY;
    }
    is_int(busy, 8, "the pool's queue has a bound (100 waiting, 2 threads)");
    is_int(run_internal(types[0]), TASK_ACCEPTED, "a request waits for the pool");
    loop_flush(&loop);
    is_text(internal_text, "busy ", "which has no room for it");
    end();
    is_int(accepted, 0, "freeing the manager records nothing");
}

static void is_at_workers(const char *queue)
{
    char id[ID_SIZE];
    memcpy(id, last_id, ID_SIZE);
    queue_lease(worker.queue, queue, 1, on_leased, NULL);
    finish(1);
    is_text(told.leased.id, id, "it waits for the workers in its queue");
}

static void test_heavy(void)
{
    begin();
    submit_task("heavy", "{\"n\":1}");
    wait_replies(1);
    is_int(last.refusal, TASK_ACCEPTED, "a heavy task is recorded");
    ok(last.news.held, "the answer says that events are held");
    is_at_workers("live");
    static char routes[] = "\nquick=queue\n";
    char *reason = NULL;
    options.routes = routes;
    ok(task_types_route(&options, &reason), "a route");
    submit_task("quick", "{}");
    wait_replies(2);
    is_at_workers("default");
    task_types_use(types); /* without the route */
    for (int i = 0; i < 6; i++)
        submit_task("heavy", "{}");
    wait_replies(8);
    is_int(last.refusal, TASK_USER_LIMIT, "limits are Redis'");
    end();
}

/* A light task that another hub recorded: this one leases it. */
static void record_elsewhere(char id[static ID_SIZE], const char *task)
{
    shard_task_id(id, span_of(owner));
    struct queue_submit call = submission(id, owner);
    call.task = task;
    call.queue = "light";
    call.light = true;
    queue_submit(other.queue, &call, on_submitted, NULL);
    finish(1);
    is_int(told.submitted.code, QUEUE_OK, "recorded by another hub");
}

static void test_leases(void)
{
    char id[ID_SIZE];
    begin();
    record_elsewhere(id, "gone");
    manager_bell(manager);
    wait_status(id, "failed");
    ok(strstr(told.json, "unknown_task") != NULL, "a type this hub does not know fails");
    record_elsewhere(id, "slow");
    manager_bell(manager);
    wait_status(id, "processing");
    queue_cancel(other.queue, &caller, id, on_answer, NULL);
    finish(1);
    manager_cancel_local(manager, id);
    wait_idle();
    is_status(id, "cancelled");
    manager_cancel_local(manager, id);
    is_int(manager_load(manager), 0, "a task that is not here cannot be cancelled here");
    end();
}

static unsigned drained;
static void on_drained(void *ctx)
{
    (void)ctx;
    drained++;
}

static void test_internal_and_drain(void)
{
    begin();
    internals = 0;
    is_int(run_internal(types[0]), TASK_ACCEPTED, "a request runs");
    ok(reach(&internals, 1), "and ends");
    is_text(internal_text, "ok {\"n\":3}", "with a result");
    is_int(run_internal(types[3]), TASK_ACCEPTED, "another one");
    ok(reach(&internals, 2), "ends");
    is_text(internal_text, "no_such_thing there is none", "with an error");
    bool taken = true;
    for (int i = 0; i < 3; i++)
        taken &= run_internal(types[0]) == TASK_ACCEPTED;
    ok(taken, "an owner may have some");
    is_int(run_internal(types[0]), TASK_USER_LIMIT, "up to a bound");
    ok(reach(&internals, 5), "they end");
    submit_task("slow", "{}");
    manager_drain(manager, UINT64_MAX, on_drained, NULL);
    submit_task("quick", "{}");
    is_int(last.refusal, TASK_UNAVAILABLE, "draining takes nothing new");
    wait_replies(2);
    is_int(drained, 0, "waits for what runs");
    atomic_store(&go, 1);
    ok(reach(&drained, 1), "until nothing does");
    is_status(last_id, "completed");
    end();
}

int main(void)
{
    task_types_use(types);
    if (!sides_open())
        skip_all("no redis-server");
    test_checks();
    test_recorded_once();
    test_slow();
    test_late_record();
    test_redis_gone();
    test_record_first();
    test_keys();
    test_retry();
    test_bounds();
    test_heavy();
    test_leases();
    test_internal_and_drain();
    sides_close();
    return done_testing();
}
