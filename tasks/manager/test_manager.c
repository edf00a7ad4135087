/* The one door: checks in their order, light tasks recorded once or leased, bounds, leases, draining. The
 * queue is the test's own; the pool is the real one. */
#include "tasks/manager/manager.h"

#include "hub/base/clock.h"
#include "hub/config/options.h"
#include "tasks/model/ctx.h"
#include "tests/lib/fake_queue.h"
#include "tests/lib/tap.h"

#include <sodium.h>

static struct loop loop;
static struct manager *manager;
static struct options options;
static uv_timer_t heartbeat;
static unsigned replies, holds;
static struct task_reply last;
static char last_event[256], last_id[ID_SIZE];

/* ---- task types of this test ---------------------------------------------------------------------- */

static void run_quick(struct task_ctx *ctx)
{
    task_finish(ctx, json_pack("{s:I}", "n", task_arg_int(ctx, "n", 0)));
}

static void run_slow(struct task_ctx *ctx)
{
    task_progress(ctx, 10, "working", "begun");
    if (task_sleep_ms(ctx, (unsigned)task_arg_int(ctx, "n", 50)))
        task_finish(ctx, NULL);
}

static void run_flaky(struct task_ctx *ctx)
{
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
static const struct task_type *const types[] = {
    &(const struct task_type){.name = "quick", .repeatable = true, ARGS, .run = run_quick},
    &(const struct task_type){.name = "slow", .repeatable = true, ARGS, .run = run_slow},
    &(const struct task_type){.name = "flaky", .repeatable = true, ARGS, .run = run_flaky},
    &(const struct task_type){.name = "bad", .repeatable = true, ARGS, .run = run_bad},
    &(const struct task_type){.name = "odd", .repeatable = true, ARGS, .run = run_quick, .check = check_odd},
    &(const struct task_type){
        .name = "mine", .repeatable = true, ARGS, .run = run_quick, .owner_arg = "user_id"},
    &(const struct task_type){
        .name = "maintenance", .repeatable = true, ARGS, .run = run_quick, .admin = true},
    &(const struct task_type){
        .name = "hidden", .repeatable = true, ARGS, .run = run_quick, .diagnostics = true},
    &(const struct task_type){.name = "once", ARGS, .run = run_quick},
    &(const struct task_type){.name = "heavy", ARGS, .kind = TASK_HEAVY, .queue = "live"},
    &(const struct task_type){.name = "speech", ARGS, .kind = TASK_HEAVY, .queue = "live", .stream = true},
    NULL,
};

/* ---- helpers --------------------------------------------------------------------------------------- */

static struct principal user = {.user_id = "u1"}, admin = {.user_id = "root", .roles = ROLE_ADMIN};

static void on_reply(void *ctx, const struct task_reply *reply)
{
    (void)ctx;
    replies++;
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
    struct task_request request = {.who = who, .task = span_of(task), .args = span_of(text), .priority = 4};
    task_manager_submit(manager, &request, on_reply, NULL);
}

static void submit(const char *task, const char *text)
{
    submit_as(&user, task, text);
}

static void on_heartbeat(uv_timer_t *timer)
{
    (void)timer;
}

static void wait_for(const size_t *counter, size_t want)
{
    uint64_t until = clock_mono_ms() + 10000;
    while (*counter < want && clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
}

static void settle(void)
{
    for (int i = 0; i < 10; i++)
        uv_run(&loop.uv, UV_RUN_ONCE);
}

static void on_hold(void *ctx, const char *owner, const char *id)
{
    (void)ctx;
    (void)owner;
    (void)id;
    holds++;
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
                               .lease_ms = 1000};
    fake_reset();
    replies = holds = 0;
    struct manager_config config = {.options = &options, .loop = &loop, .hold = on_hold};
    manager = manager_new(&config);
    manager_redis(manager, true);
}

static void end(void)
{
    manager_free(&manager);
    settle();
}

/* ---- tests ----------------------------------------------------------------------------------------- */

static void test_checks(void)
{
    char allowed[] = "\nslow\n", long_args[200];
    struct principal narrow = {.user_id = "u1", .tasks = allowed};
    begin();
    submit("nothing", "{}");
    is_int(last.refusal, TASK_UNKNOWN_TYPE, "an unknown type is refused");
    submit("hidden", "{}");
    is_int(last.refusal, TASK_UNKNOWN_TYPE, "a diagnostic type does not exist");
    submit("quick:x\n", "{}");
    is_int(last.refusal, TASK_UNKNOWN_TYPE, "an odd name is no type");
    submit_as(&narrow, "quick", "{}");
    is_int(last.refusal, TASK_TYPE_NOT_IN_TOKEN, "the token's list counts");
    submit("maintenance", "{}");
    is_int(last.refusal, TASK_ROLE, "a role is missing");
    submit("speech", "{}");
    is_int(last.refusal, TASK_NEEDS_STREAM, "a stream type takes audio.start");
    struct task_request request = {.who = &user, .task = SPAN("quick"), .stream = true};
    task_manager_submit(manager, &request, on_reply, NULL);
    is_int(last.refusal, TASK_NO_STREAM, "another type takes no stream");
    snprintf(long_args, sizeof long_args, "{\"n\":1%120s}", "");
    submit("quick", long_args);
    is_int(last.refusal, TASK_ARGS_TOO_LARGE, "arguments have a bound");
    submit("quick", "[1]");
    is_text(last.error.field, "args", "arguments are an object");
    submit("quick", "{\"m\":1}");
    is_int(last.refusal, TASK_BAD_ARGS, "an unknown argument is refused");
    is_text(last.error.field, "m", "and named");
    submit("quick", "{\"n\":\"1\"}");
    is_text(last.error.message, "n: must be an integer", "the message says what is expected");
    submit("odd", "{\"n\":2}");
    is_text(last.error.message, "n: must be odd", "the type's own check counts");
    submit("mine", "{\"user_id\":\"u2\"}");
    is_int(last.refusal, TASK_ROLE, "naming another user takes the role admin");
    is_int(replies, 13, "every refusal came at once");
    is_int(fake.submits.count + fake.onces.count + manager_load(manager), 0, "and left no trace");
    fake.up = false;
    submit("quick", "{}");
    is_int(last.refusal, TASK_UNAVAILABLE, "without Redis nothing is taken");
    fake.up = true;
    end();
}

static void test_recorded_once(void)
{
    begin();
    submit("quick", "{\"n\":7}");
    is_int(replies, 0, "no answer before Redis has it");
    wait_for(&fake.onces.count, 1);
    is_int(fake.onces.count, 1, "one call records it");
    is_text(fake.onces.at[0].text, "{\"n\":7}", "with its result");
    fake.seq = 10;
    fake_once(0, QUEUE_OK);
    is_int(replies, 1, "answered");
    is_int(last.refusal, TASK_ACCEPTED, "accepted");
    is_int(last.seq, 11, "the reply knows the end's place in the log");
    is_text(last.status, "pending", "status");
    is_text(last.news.owner, "u1", "owner");
    char want[256];
    snprintf(want, sizeof want,
             "C 11 {\"task_id\":\"%s\",\"task\":\"quick\",\"user_id\":\"u1\",\"type\":\"completed\"}",
             last_id);
    is_text(last_event, want, "the terminal event");
    submit("bad", "{}");
    wait_for(&fake.onces.count, 2);
    ok(fake.onces.at[1].failed, "a failure is recorded the same way");
    is_text(fake.onces.at[1].text, "no_such_thing", "with its code");
    fake_once(1, QUEUE_UNAVAILABLE);
    is_int(last.refusal, TASK_UNAVAILABLE, "Redis refused: so does the answer");
    is_int(manager_load(manager), 0, "nothing is left");
    is_int(fake.submits.count, 0, "nothing else was recorded");
    end();
}

static void test_slow(void)
{
    begin();
    submit("slow", "{\"n\":60}");
    wait_for(&fake.submits.count, 1);
    ok(fake.submits.at[0].lease && fake.submits.at[0].light, "past the fuse it is recorded with a lease");
    is_text(fake.submits.at[0].queue, "light", "in the queue light");
    is_text(fake.submits.at[0].args, "{\"n\":60}", "with its arguments");
    fake_submitted(0, QUEUE_OK);
    is_int(last.refusal, TASK_ACCEPTED, "accepted");
    ok(last.news.event == NULL, "and not ended");
    is_int(fake.starts.count, 1, "it runs already");
    is_int(fake.updates.count, 1, "what it said before is told now");
    is_text(fake.updates.at[0].text, "begun", "message");
    is_text(fake.updates.at[0].task, "slow", "with its type");
    wait_for(&fake.ends.count, 1);
    is_int(fake.ends.at[0].kind, QUEUE_COMPLETED, "its end is recorded");
    is_int(fake.ends.at[0].fence, 1, "under its first lease");
    fake_ended(0, QUEUE_OK);
    is_int(manager_load(manager), 0, "nothing is left");

    submit("slow", "{\"n\":60}");
    wait_for(&fake.submits.count, 2);
    fake_submitted(1, QUEUE_UNAVAILABLE);
    is_int(last.refusal, TASK_UNAVAILABLE, "not recorded: refused");
    uint64_t until = clock_mono_ms() + 5000;
    while (manager_load(manager) && clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_int(fake.ends.count, 1, "and its outcome is dropped");
    end();
}

static void test_late_record(void)
{
    begin();
    submit("slow", "{\"n\":20}");
    wait_for(&fake.submits.count, 1);
    uint64_t until = clock_mono_ms() + 60;
    while (clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_int(fake.ends.count, 0, "done before its record was confirmed: it waits");
    fake_submitted(0, QUEUE_OK);
    is_int(fake.starts.count, 1, "then it started");
    is_int(fake.ends.count, 1, "and ended");
    fake_ended(0, QUEUE_UNAVAILABLE);
    is_int(manager_load(manager), 1, "an end that Redis did not take is kept");
    manager_redis(manager, true);
    is_int(fake.ends.count, 2, "and recorded when it answers");
    fake_ended(1, QUEUE_OK);
    is_int(manager_load(manager), 0, "nothing is left");
    end();
}

static void test_record_first(void)
{
    struct task_request request = {
        .who = &user, .task = SPAN("once"), .args = SPAN("{}"), .idempotency_key = SPAN("k")};
    begin();
    task_manager_submit(manager, &request, on_reply, NULL);
    is_int(fake.submits.count, 1, "what must not run twice is recorded first");
    ok(fake.submits.at[0].key && fake.submits.at[0].lease, "with key and lease");
    fake_submitted(0, QUEUE_DUPLICATE);
    is_int(last.refusal, TASK_DUPLICATE, "a duplicate is told");
    is_int(manager_load(manager), 0, "and not run");
    task_manager_submit(manager, &request, on_reply, NULL);
    fake_submitted(1, QUEUE_OK);
    wait_for(&fake.ends.count, 1);
    is_int(fake.ends.at[0].kind, QUEUE_COMPLETED, "a new one runs");
    fake_ended(0, QUEUE_OK);
    request.idempotency_key = SPAN_NONE;
    request.delay_ms = 5000;
    task_manager_submit(manager, &request, on_reply, NULL);
    ok(!fake.submits.at[2].lease, "a delayed one is not leased");
    fake_submitted(2, QUEUE_OK);
    is_int(last.refusal, TASK_ACCEPTED, "but accepted");
    is_int(manager_load(manager), 0, "and does not run here now");
    end();
}

/* With a key or without, what may run twice runs first; what else comes with its key meanwhile waits. */
static void test_keys(void)
{
    struct task_request request = {
        .who = &user, .task = SPAN("quick"), .args = SPAN("{\"n\":1}"), .idempotency_key = SPAN("k")};
    begin();
    for (int i = 0; i < 3; i++)
        task_manager_submit(manager, &request, on_reply, NULL);
    wait_for(&fake.onces.count, 1);
    ok(fake.onces.at[0].key, "the first has run, and is recorded with its key");
    is_int(fake.submits.count, 0, "the others wait");
    fake_once(0, QUEUE_OK);
    is_int(replies, 1, "it is answered");
    is_int(fake.submits.count, 2, "then they ask Redis");
    fake_submitted(0, QUEUE_DUPLICATE);
    fake_submitted(1, QUEUE_MISMATCH);
    is_int(last.refusal, TASK_MISMATCH, "which knows");
    request.who = &admin;
    task_manager_submit(manager, &request, on_reply, NULL);
    wait_for(&fake.onces.count, 2);
    fake_once(1, QUEUE_DUPLICATE);
    is_int(last.refusal, TASK_DUPLICATE,
           "one that ran although another hub's stands: its outcome is dropped");
    ok(last.news.event == NULL, "and told to nobody");
    is_int(manager_load(manager), 0, "nothing is left");
    task_manager_submit(manager, &request, on_reply, NULL);
    task_manager_submit(manager, &request, on_reply, NULL);
    wait_for(&fake.onces.count, 3);
    fake_once(2, QUEUE_UNAVAILABLE);
    is_int(fake.submits.count, 3, "when Redis refused the first, the next is recorded");
    fake_submitted(2, QUEUE_OK);
    wait_for(&fake.ends.count, 1);
    fake_ended(0, QUEUE_OK);
    is_int(manager_load(manager), 0, "and run");
    end();
}

static void test_retry(void)
{
    begin();
    submit("flaky", "{}");
    wait_for(&fake.submits.count, 1);
    is_int(fake.submits.count, 1, "a failure that may be tried again gets a record");
    fake_submitted(0, QUEUE_OK);
    wait_for(&fake.ends.count, 1);
    is_int(fake.ends.at[0].kind, QUEUE_FAILED, "ends as failed");
    ok(fake.ends.at[0].retry, "and asks for another attempt");
    fake_ended(0, QUEUE_OK);
    end();
}

static void test_bounds(void)
{
    begin();
    for (int i = 0; i < 4; i++)
        submit("slow", "{\"n\":20000}");
    is_int(last.refusal, TASK_USER_LIMIT, "a user has a bound");
    submit_as(&admin, "quick", "{}");
    is_int(replies, 1, "which is his own");
    end();
    begin();
    options.light_threads = 1;
    options.light_queue = 1;
    options.user_light = 1000;
    manager_free(&manager);
    begin();
    options.user_light = 1000;
    unsigned busy = 0;
    for (int i = 0; i < 110; i++) {
        last.refusal = TASK_ACCEPTED;
        submit("slow", "{\"n\":20000}");
        busy += last.refusal == TASK_BUSY;
    }
    is_int(busy, 8, "the pool's queue has a bound (100 waiting, 2 threads)");
    end();
    is_int(fake.onces.count + fake.ends.count, 0, "freeing the manager records nothing");
}

static void test_heavy(void)
{
    begin();
    submit("heavy", "{\"n\":1}");
    is_int(fake.submits.count, 1, "a heavy task goes to the queue");
    is_text(fake.submits.at[0].queue, "live", "of its type");
    ok(!fake.submits.at[0].light && !fake.submits.at[0].lease, "for a worker");
    is_int(holds, 1, "its events are held");
    fake_submitted(0, QUEUE_USER_LIMIT);
    is_int(last.refusal, TASK_USER_LIMIT, "limits are Redis'");
    ok(last.news.held, "the answer says that events are held");
    static char routes[] = "\nquick=queue\n";
    char *reason = NULL;
    options.routes = routes;
    ok(task_types_route(&options, &reason), "a route");
    submit("quick", "{}");
    is_int(fake.submits.count, 2, "routing sends a light type to the workers");
    is_text(fake.submits.at[1].queue, "default", "through the queue default");
    fake_submitted(1, QUEUE_OK);
    task_types_use(types); /* without the route */
    end();
}

static void test_leases(void)
{
    const char *id = "01980000-0000-7000-8000-000000000001", *id2 = "01980000-0000-7000-8000-000000000002";
    struct queue_leased tasks[] = {
        {.id = id,
         .effect_id = id,
         .owner = "u9",
         .task = "slow",
         .attempt = 1,
         .fence = 2,
         .rev = 6,
         .args = SPAN("{\"n\":20000}")},
        {.id = id2,
         .effect_id = id2,
         .owner = "u9",
         .task = "gone",
         .attempt = 1,
         .fence = 1,
         .args = SPAN("{}")},
    };
    begin();
    is_int(fake.reclaims, 1, "leases of an earlier life go back first");
    settle();
    is_int(fake.leases, 1, "then waiting work is asked for");
    fake.lease(fake.lease_ctx, QUEUE_OK, tasks, 2, 0);
    is_int(fake.ends.count, 1, "a type this hub does not know fails");
    is_text(fake.ends.at[0].text, "unknown_task", "with that code");
    fake_ended(0, QUEUE_OK);
    wait_for(&fake.starts.count, 1);
    is_int(fake.starts.at[0].fence, 2, "a leased task runs under its lease");
    wait_for(&fake.updates.count, 1);
    is_int(fake.updates.at[0].rev, 6, "its reports go on from those of earlier attempts");
    uint64_t until = clock_mono_ms() + 5000;
    while (fake.beats == 0 && clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_int(fake.beaten, 1, "its lease is kept");
    manager_cancel_local(manager, id2);
    is_int(fake.ends.count, 1, "a task that is not here cannot be cancelled here");
    fake.beat(fake.beat_ctx, QUEUE_OK, NULL, 0, &id, 1);
    wait_for(&fake.ends.count, 2);
    is_int(fake.ends.at[1].kind, QUEUE_CANCELLED, "a cancel that the beat brought ends it");
    fake_ended(1, QUEUE_OK);

    manager_bell(manager);
    settle();
    fake.lease(fake.lease_ctx, QUEUE_OK, tasks, 1, 0);
    wait_for(&fake.starts.count, 2);
    fake.beat(fake.beat_ctx, QUEUE_OK, &id, 1, NULL, 0);
    until = clock_mono_ms() + 5000;
    while (manager_load(manager) && clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_int(manager_load(manager), 0, "a lost lease stops the task");
    is_int(fake.ends.count, 2, "and its outcome is dropped");
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

static unsigned drained;
static void on_drained(void *ctx)
{
    (void)ctx;
    drained++;
}

static void test_internal_and_drain(void)
{
    begin();
    is_int(manager_run_internal(manager, types[0], "u1", SPAN("{\"n\":3}"), on_internal, NULL), TASK_ACCEPTED,
           "a request runs");
    while (internals == 0)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_text(internal_text, "ok {\"n\":3}", "and has a result");
    is_int(manager_run_internal(manager, types[3], "u1", SPAN("{}"), on_internal, NULL), TASK_ACCEPTED,
           "another one");
    while (internals == 1)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_text(internal_text, "no_such_thing there is none", "or an error");
    is_int(fake.onces.count, 0, "neither is recorded");
    bool taken = true;
    for (int i = 0; i < 3; i++)
        taken &= manager_run_internal(manager, types[0], "u1", SPAN("{\"n\":3}"), on_internal, NULL) ==
                 TASK_ACCEPTED;
    ok(taken, "an owner may have some");
    is_int(manager_run_internal(manager, types[0], "u1", SPAN("{\"n\":3}"), on_internal, NULL),
           TASK_USER_LIMIT, "up to a bound");
    while (internals < 5)
        uv_run(&loop.uv, UV_RUN_ONCE);
    submit("quick", "{}");
    manager_drain(manager, on_drained, NULL);
    is_int(drained, 0, "draining waits");
    submit("quick", "{}");
    is_int(last.refusal, TASK_UNAVAILABLE, "and takes nothing new");
    wait_for(&fake.onces.count, 1);
    fake_once(0, QUEUE_OK);
    fake.lease(fake.lease_ctx, QUEUE_OK, NULL, 0, 0);
    settle();
    is_int(drained, 1, "until nothing runs");
    end();
}

int main(void)
{
    if (sodium_init() < 0 || loop_init(&loop) < 0)
        return 1;
    task_types_use(types);
    uv_timer_init(&loop.uv, &heartbeat);
    uv_timer_start(&heartbeat, on_heartbeat, 1, 5);
    test_checks();
    test_recorded_once();
    test_slow();
    test_late_record();
    test_record_first();
    test_keys();
    test_retry();
    test_bounds();
    test_heavy();
    test_leases();
    test_internal_and_drain();
    uv_close((uv_handle_t *)&heartbeat, NULL);
    loop_deinit(&loop);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(uv_loop_close(&loop.uv), 0, "no handle is left");
    return done_testing();
}
