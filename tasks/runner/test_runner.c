/* SPDX-License-Identifier: MIT */
/* The runner on a real queue and a real redis-server, with two engines of the test's own: they record the
 * calls they get, and tasks start and end when the test says so. */
#include "tasks/runner/runner.h"

#include "hub/config/options.h"
#include "tasks/queue/shard.h"
#include "tests/lib/queue_side.h"

static struct options options = {.lease_ms = 15000};
static struct runner *runner;
static unsigned ready_calls, drained_calls, done_calls, gone_calls, answers;

static const struct task_type ordinary = {.name = "noop_heavy", .kind = TASK_HEAVY};
static const struct task_type *const types[] = {&ordinary, NULL};

/* ---- stand-in: engines, where tasks start and end when the test says so ---- */

#define GIVEN 16
struct engine_state {
    unsigned room, given_count, cancels;
    bool refuses;
    struct list *staged;
    struct run *given[GIVEN]; /* in the order they were handed over; NULL after the end */
    enum run_stop why[GIVEN];
};
static struct engine_state first, second;
static const struct engine_hooks *engine_hooks;
static bool answered;

static void take(void *self)
{
    struct engine_state *engine = self;
    for (struct run *run; (run = engine_hooks->next(engine->staged)) != NULL;) {
        engine->room -= engine->room > 0;
        if (engine->refuses || engine->given_count == GIVEN)
            engine_hooks->returned(run);
        else
            engine->given[engine->given_count++] = run;
    }
}

static void *start_engine(const struct engine_config *config)
{
    static unsigned starts; /* engines start in the order of the list */
    struct engine_state *engine = starts++ % 2 ? &second : &first;
    engine_hooks = config->hooks;
    engine->staged = config->staged;
    loop_hook(config->loop, LOOP_STAGE_POOL, take, engine);
    return engine;
}

static void stop(void *self)
{
    loop_unhook(&loop, LOOP_STAGE_POOL, take, self);
}

static unsigned room(void *self, unsigned lane)
{
    const struct engine_state *engine = self;
    (void)lane;
    return engine->room;
}

static unsigned place_of(const struct engine_state *engine, const struct run *run)
{
    for (unsigned i = 0; i < GIVEN; i++)
        if (engine->given[i] == run)
            return i;
    abort();
}

static void leave(struct engine_state *engine, unsigned i, const struct queue_end *end)
{
    struct run *run = engine->given[i];
    engine->given[i] = NULL;
    engine_hooks->ended(run, end, NULL);
}

/* A run that has not begun ends at once; others wait for the test, except those with a lost lease. */
static void cancel(void *self, struct run *run, enum run_stop why)
{
    struct engine_state *engine = self;
    unsigned i = place_of(engine, run);
    engine->cancels++;
    engine->why[i] = why;
    if (why == STOP_LOST) {
        leave(engine, i, NULL);
    } else if (run->begun == RUN_WAITS && (why == STOP_RETURN || why == STOP_DRAIN)) {
        engine->given[i] = NULL;
        engine_hooks->returned(run);
    } else if (run->begun == RUN_WAITS) {
        leave(engine, i, &(struct queue_end){.kind = QUEUE_CANCELLED});
    }
}

static void health(const void *self, unsigned lane, struct engine_health *ret)
{
    (void)self, (void)lane;
    *ret = (struct engine_health){0};
}

static void answer(void *self, struct run *run, uint32_t call, struct span json)
{
    (void)self, (void)run, (void)call;
    answers++;
    answered = json.p != NULL;
}

static const char *const first_queues[] = {"default", NULL}, *const second_queues[] = {"live", NULL};
#define ENGINE                                                                                               \
    .run_size = sizeof(struct run), .start = start_engine, .stop = stop, .room = room, .cancel = cancel,     \
    .health = health, .answer = answer
static const struct engine first_engine = {.name = "first", .queues = first_queues, ENGINE};
static const struct engine second_engine = {.name = "second", .queues = second_queues, ENGINE};
static const struct engine *const engines[] = {&first_engine, &second_engine, NULL};

/* ---- helpers --------------------------------------------------------------------------------------- */

static void on_runner_ready(void *ctx)
{
    (void)ctx;
    ready_calls++;
}

static void write_info(void *ctx, struct buf *to)
{
    (void)ctx;
    buf_append_text(to, "{}");
}

static bool on_run_done(void *holder, struct queue_submit *ret_record)
{
    (void)holder;
    (void)ret_record;
    done_calls++;
    return false;
}

static void on_gone(void *holder)
{
    const unsigned *marks = holder;
    gone_calls += *marks == 0 ? 1 : *marks;
}

static void on_drained(void *ctx)
{
    (void)ctx;
    drained_calls++;
}

static void begin(unsigned room_of_first, unsigned room_of_second)
{
    first = (struct engine_state){.room = room_of_first};
    second = (struct engine_state){.room = room_of_second};
    ready_calls = drained_calls = done_calls = gone_calls = answers = 0;
    runner = runner_new(&(struct runner_config){
        .loop = &loop,
        .options = &options,
        .queue = worker.queue,
        .engines = engines,
        .holder_size = sizeof(unsigned),
        .poll_ms = 20,
        .beats_idle = true,
        .hooks = {.ready = on_runner_ready, .info = write_info, .done = on_run_done, .gone = on_gone},
    });
    runner_up(runner);
    ok(reach(&ready_calls, 1), "what an earlier life held went back");
}

/* Runs the loop until nothing is held. */
static void finish_all(void)
{
    ok(UNTIL(runner_load(runner) == 0), "nothing is held any more");
}

static void end_runner(void)
{
    first.room = second.room = 0;
    runner_free(&runner);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static void submit_new(char id[static ID_SIZE], const char *queue)
{
    shard_task_id(id, span_of(owner));
    struct queue_submit call = submission(id, owner);
    call.queue = queue;
    queue_submit(hub.queue, &call, on_submitted, NULL);
    finish(1);
    is_int(told.submitted.code, QUEUE_OK, "submitted");
}

/* Submits a task and waits until the first engine has it. */
static struct run *run_one(char id[static ID_SIZE])
{
    unsigned at = first.given_count;
    first.room = 1;
    submit_new(id, "default");
    ok(reach(&first.given_count, at + 1), "leased and given");
    is_text(first.given[at]->id, id, "the task that was submitted");
    return first.given[at];
}

static void start(struct run *run)
{
    forget_events();
    engine_hooks->started(run);
    ok(reach(&told.count, 1), "its start is told");
}

static void end_one(struct run *run, enum queue_end_kind kind)
{
    leave(&first, place_of(&first, run), &(struct queue_end){.kind = kind, .result = SPAN("{\"a\":1}")});
}

static void is_status(const char *id, const char *status, const char *stage)
{
    queue_get(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    is_text(told.answer.status, status, "status of the record");
    if (stage)
        is_text(told.answer.stage, stage, "and stage");
}

/* ---- tests ------------------------------------------------------------------------------------------ */

static void test_run(void)
{
    char id[ID_SIZE];
    begin(0, 0);
    struct run *run = run_one(id);
    is_text(run->owner, owner, "with its owner");
    ok(span_is(run->args, "{\"steps\":3}"), "and arguments");
    is_int(run->attempt, 1, "attempt");
    is_int(run->fence, 1, "fence");
    forget_events();
    engine_hooks->started(run);
    struct queue_update update = {.kind = QUEUE_PROGRESS, .percent = 40, .stage = "half"};
    engine_hooks->update(run, &update);
    update = (struct queue_update){.kind = QUEUE_LOG, .message = SPAN("a line")};
    engine_hooks->update(run, &update);
    engine_hooks->call(run, 7, "no_such_service", SPAN("{}"));
    is_int(answers, 1, "a question to no service is answered");
    ok(!answered, "by a refusal");
    end_one(run, QUEUE_COMPLETED);
    finish_all();
    is_status(id, "completed", NULL);
    ok(reach(&told.count, 4), "start, progress, log line and end are told");
    is_text(codes(), "hShPhLhC", "in this order");
    is_int(gone_calls, 1, "the holder's part ended");
    is_int(runner_done(runner), 1, "one has run");
    end_runner();
}

/* Reports that Redis did not take are repeated, once, and in order. */
static void test_redis_gone(void)
{
    char id[ID_SIZE];
    begin(0, 0);
    struct run *run = run_one(id);
    start(run);
    redis_server_kill(&server);
    runner_down(runner);
    struct queue_update update = {.kind = QUEUE_FINAL, .meta = SPAN("{\"n\":1}")};
    engine_hooks->update(run, &update);
    end_one(run, QUEUE_COMPLETED);
    for (int i = 0; i < 5; i++)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_int(runner_load(runner), 1, "the end is kept while Redis is gone");
    unsigned up = worker.ready, hub_up = hub.ready, hears = hub.feed_ups;
    forget_events();
    redis_server_start(&server);
    ok(reach(&worker.ready, up + 1) && reach(&hub.ready, hub_up + 1), "Redis is back");
    ok(reach(&hub.feed_ups, hears + 1), "and the hub hears it");
    struct owner_source source = queue_feed_source(hub.feed);
    source.attach(source.ctx, owner, on_position, NULL); /* a lost message ended the first one */
    finish(1);
    runner_up(runner);
    finish_all();
    is_status(id, "completed", NULL);
    end_runner();
}

static bool beats;

static void beat_once(void *ctx)
{
    (void)ctx;
    if (beats)
        runner_beat(runner);
    beats = false;
}

static void on_reply(void *ctx, const redisReply *reply)
{
    (void)ctx;
    told.done += reply != NULL && reply->type == REDIS_REPLY_ARRAY;
}

/* Gives back what the worker holds, as another worker of its name does at start. */
static void reclaim_as_another(void)
{
    redis_callv(hub.commands, on_reply, NULL, "FCALL", "th2_reclaim", "1", SHARD_PREFIX, "w:w_one", "another",
                "86400000", "3600000", "0", NULL);
    finish(1);
}

/* The task is leased again; the call is followed by a heartbeat that still names the earlier lease. */
static void test_lost_and_leased(void)
{
    char id[ID_SIZE];
    begin(0, 0);
    start(run_one(id));
    reclaim_as_another();
    loop_hook(&loop, LOOP_STAGE_POOL, beat_once, NULL); /* runs after the runner's hook */
    beats = true;
    first.room = 1;
    runner_bell(runner, "default");
    ok(reach(&first.given_count, 2), "the task is leased again");
    queue_reclaim(worker.queue, on_done, NULL); /* its answer follows that of the heartbeat */
    finish(1);
    is_int(first.cancels, 1, "what the beat says of the first lease is no news of the second");
    end_one(first.given[1], QUEUE_COMPLETED);
    finish_all();
    is_status(id, "completed", NULL);
    loop_unhook(&loop, LOOP_STAGE_POOL, beat_once, NULL);
    end_runner();
}

static void test_lost(void)
{
    char id[ID_SIZE];
    begin(0, 0);
    struct run *run = run_one(id);
    start(run);
    reclaim_as_another();
    runner_beat(runner);
    ok(reach(&first.cancels, 1), "the beat says that the lease was lost");
    is_int(first.why[0], STOP_LOST, "the engine is told to drop it");
    finish_all();
    is_status(id, "pending", NULL);

    first.room = 1;
    runner_bell(runner, "default");
    ok(reach(&first.given_count, 2), "it can be leased again");
    is_int(first.given[1]->fence, 2, "under a new fence");
    end_one(first.given[1], QUEUE_COMPLETED);
    finish_all();
    end_runner();
}

static void test_cancel(void)
{
    char id[ID_SIZE];
    begin(0, 0);
    ok(!runner_cancel(runner, "no id", 0), "what is no id is not found");
    shard_task_id(id, span_of(owner));
    ok(!runner_cancel(runner, id, 0), "a cancel may come before its task");
    struct queue_submit call = submission(id, owner);
    queue_submit(hub.queue, &call, on_submitted, NULL);
    finish(1);
    first.room = 1;
    runner_bell(runner, "default");
    unsigned gone = gone_calls;
    ok(reach(&gone_calls, gone + 1), "the task comes");
    is_int(first.given_count, 0, "and is given to nobody");

    struct run *run = run_one(id);
    ok(runner_cancel(runner, id, run->fence + 1), "found");
    is_int(first.cancels, 0, "a cancel of another lease does nothing");
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    runner_cancel(runner, id, run->fence);
    is_int(first.why[0], STOP_CANCEL, "one that waits is cancelled");
    finish_all();
    is_status(id, "cancelled", NULL);

    run = run_one(id);
    start(run);
    queue_cancel(hub.queue, &caller, id, on_answer, NULL);
    finish(1);
    unsigned cancels = first.cancels;
    runner_beat(runner);
    ok(reach(&first.cancels, cancels + 1), "the beat brings the cancel of one that runs");
    end_one(run, QUEUE_CANCELLED);
    finish_all();
    is_status(id, "cancelled", NULL);
    ok(!runner_cancel(runner, id, 0), "after its end nothing is found");
    end_runner();
}

static void test_drain(void)
{
    char running[ID_SIZE], waiting[ID_SIZE];
    begin(0, 0);
    struct run *run = run_one(running);
    engine_hooks->started(run);
    run_one(waiting);
    runner_drain(runner, 60000, on_drained, NULL);
    is_int(first.why[1], STOP_RETURN, "what has not begun is given back");
    is_status(waiting, "pending", "queued");
    is_int(drained_calls, 0, "what runs is waited for");
    first.room = 1;
    runner_bell(runner, NULL);
    is_status(waiting, "pending", "queued");
    is_int(first.given_count, 2, "and nothing is leased any more");
    end_one(run, QUEUE_COMPLETED);
    ok(reach(&drained_calls, 1), "then it is over");
    is_int(runner_load(runner), 0, "with nothing held");
    end_runner();
    is_status(running, "completed", NULL);

    begin(1, 0);
    ok(reach(&first.given_count, 1), "another process gets it");
    engine_hooks->started(first.given[0]);
    runner_drain(runner, 60000, on_drained, NULL);
    runner_drain(runner, 60000, on_drained, NULL);
    is_int(first.why[0], STOP_DRAIN, "asked twice, it stops what runs");
    end_one(first.given[0], QUEUE_FAILED);
    ok(reach(&drained_calls, 1), "and is over");
    end_runner();
}

static void test_reclaim(void)
{
    char id[ID_SIZE];
    submit_new(id, "default");
    redis_callv(hub.commands, on_reply, NULL, "FCALL", "th2_lease", "1", SHARD_PREFIX, "w:w_one", "before",
                "86400000", "3600000", "default", "1", "15000", NULL);
    finish(1); /* an earlier incarnation holds it */
    begin(1, 0);
    ok(reach(&first.given_count, 1), "it is leased again at once");
    is_text(first.given[0]->id, id, "the same task");
    is_int(first.given[0]->fence, 2, "under a new fence");
    end_one(first.given[0], QUEUE_COMPLETED);
    finish_all();
    end_runner();
}

static void test_two_engines(void)
{
    char ids[4][ID_SIZE];
    begin(0, 0);
    submit_new(ids[0], "default");
    submit_new(ids[1], "default");
    submit_new(ids[2], "live");
    submit_new(ids[3], "live");
    first.room = 1;
    second.room = 2;
    runner_bell(runner, NULL);
    ok(reach(&first.given_count, 1) && reach(&second.given_count, 2), "each gets as many as it has room for");
    is_status(ids[1], "pending", "queued");
    is_int(first.given_count, 1, "and no more");
    second.refuses = true;
    first.refuses = true;
    first.room = 1;
    unsigned gone = gone_calls;
    runner_bell(runner, "default");
    ok(reach(&gone_calls, gone + 1), "what an engine does not take");
    first.room = 0;
    is_status(ids[1], "pending", "queued");
    end_one(first.given[0], QUEUE_COMPLETED);
    for (unsigned i = 0; i < 2; i++)
        leave(&second, i, &(struct queue_end){.kind = QUEUE_COMPLETED});
    finish_all();
    first.refuses = false;
    first.room = 1;
    runner_bell(runner, NULL);
    ok(reach(&first.given_count, 2), "comes again");
    end_one(first.given[1], QUEUE_COMPLETED);
    finish_all();
    end_runner();
}

static void run_first(struct run *run)
{
    runner_run_first(run);
    loop_flush(&loop); /* so that the engine takes it */
}

static struct run *new_run(void)
{
    struct run *run = run_new(runner_lane(runner, "default"), &ordinary, span_of(owner));
    shard_task_id(run->id, span_of(owner));
    return run;
}

/* Records the task, leased to this process. */
static void record_leased(const struct run *run)
{
    struct queue_submit call = submission(run->id, owner);
    call.queue = "light";
    call.light = call.lease = true;
    queue_submit(worker.queue, &call, on_submitted, NULL);
    finish(1);
}

/* A task made here runs first and is recorded later, or never. */
static void test_made_here(void)
{
    char id[ID_SIZE];
    begin(0, 0);
    ok(runner_lane(runner, "default") && runner_lane(runner, "elsewhere") == NULL,
       "a lane is found by its queue");
    struct run *run = new_run();
    run_set_args(run, SPAN("{}"));
    run_first(run);
    is_int(first.given_count, 1, "it is at the engine");
    end_one(run, QUEUE_COMPLETED);
    is_int(done_calls, 1, "its end is the holder's");
    *(unsigned *)run_holder(run) = 5;
    runner_drop(run);
    is_int(gone_calls, 5, "who may drop it");

    run = new_run();
    is_int(*(unsigned *)run_holder(run), 0, "an object that is used again is clean");
    memcpy(id, run->id, ID_SIZE);
    run_first(run);
    record_leased(run);
    end_one(run, QUEUE_COMPLETED);
    runner_adopt(run, told.submitted.fence);
    finish_all();
    is_status(id, "completed", NULL);

    first.refuses = true;
    run = new_run();
    run_first(run);
    is_int(done_calls, 3, "or there is no room");
    is_int(run->end.kind, QUEUE_RETURNED, "as the holder is told");
    runner_drop(run);
    is_int(runner_load(runner), 0, "nothing is left");
    end_runner();
}

/* It can be stopped at any time, even before an engine has it. */
static void test_made_here_and_stopped(void)
{
    char id[ID_SIZE];
    begin(0, 0);
    struct run *run = new_run();
    run_first(run);
    unsigned at = place_of(&first, run), cancels = first.cancels;
    ok(!runner_cancel(runner, run->id, 0), "a cancel may come before we know of the record");
    runner_adopt(run, 1);
    is_int(first.cancels, cancels + 1, "then the engine is asked at once");
    is_int(first.why[at], STOP_CANCEL, "to cancel");
    finish_all();

    run = new_run();
    memcpy(id, run->id, ID_SIZE);
    record_leased(run);
    runner_adopt(run, told.submitted.fence);
    ok(runner_cancel(runner, id, 0), "one that no engine has yet can be cancelled");
    finish_all();
    is_status(id, "cancelled", NULL);

    run = new_run();
    runner_run_first(run);
    runner_drop(run);
    loop_flush(&loop);
    is_int(first.given_count, 1, "what is stopped at once reaches no engine");
    is_int(runner_load(runner), 0, "nothing is left");
    end_runner();
}

int main(void)
{
    task_types_use(types);
    if (!sides_open())
        skip_all("no redis-server");
    attach_first();
    test_run();
    test_redis_gone();
    test_lost();
    test_lost_and_leased();
    test_cancel();
    test_drain();
    test_reclaim();
    test_two_engines();
    test_made_here();
    test_made_here_and_stopped();
    sides_close();
    return done_testing();
}
