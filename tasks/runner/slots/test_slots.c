/* SPDX-License-Identifier: MIT */
/* Slot processes without a queue: real prefork parents and slots; the test hands over the tasks. The test
 * program is its own prefork parent. */
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "tasks/runner/slots/prefork.h"
#include "tasks/runner/slots/proc.h"
#include "tasks/runner/slots/slots.h"
#include "tasks/types.h"
#include "tests/lib/wait.h"

#include <sched.h>
#include <signal.h>
#include <sodium.h>
#include <unistd.h>

enum fate { OPEN, COMPLETED, FAILED, CANCELLED, DIED, DROPPED, RETURNED };

struct task { /* a job and its outcome */
    struct slot_job job;
    enum fate fate;
    unsigned starts, updates, percent;
    bool fell;
    char stage[33], message[513], code[33], error[513], meta[128], result[256];
    uint64_t started_ms, ended_ms, taken;
};

static struct options options;
static void *slots;
static unsigned ended_count;

static struct task *task_of(struct run *run)
{
    return container_of(run, struct task, job.run);
}

static void copy(char *to, size_t size, struct span from)
{
    size_t n = from.n < size - 1 ? from.n : size - 1;
    if (n)
        memcpy(to, from.p, n);
    to[n] = '\0';
}

static void on_started(struct run *run)
{
    task_of(run)->starts++;
    task_of(run)->started_ms = clock_mono_ms();
}

static void on_update(struct run *run, const struct queue_update *update)
{
    struct task *task = task_of(run);
    task->updates++;
    if (update->kind == QUEUE_PROGRESS) {
        task->fell |= (unsigned)update->percent < task->percent;
        task->percent = (unsigned)update->percent;
        copy(task->stage, sizeof task->stage, span_of(update->stage ? update->stage : ""));
    }
    if (update->message.n)
        copy(task->message, sizeof task->message, update->message);
    if (update->meta.n)
        copy(task->meta, sizeof task->meta, update->meta);
}

static void on_call(struct run *run, uint32_t call, const char *service, struct span args)
{
    (void)service;
    (void)args;
    slots_engine.answer(slots, run, call, SPAN_NONE);
}

static void on_taken(struct run *run, uint64_t total)
{
    task_of(run)->taken = total;
}

static void on_ended(struct run *run, const struct queue_end *end, char *text)
{
    static const enum fate fates[] = {[QUEUE_COMPLETED] = COMPLETED,
                                      [QUEUE_FAILED] = FAILED,
                                      [QUEUE_CANCELLED] = CANCELLED,
                                      [QUEUE_DIED] = DIED,
                                      [QUEUE_RETURNED] = RETURNED};
    struct task *task = task_of(run);
    task->starts += task->starts == 0 && run->began_ms; /* a quick task reports both at once */
    ended_count++;
    task->ended_ms = clock_mono_ms();
    task->fate = end ? fates[end->kind] : DROPPED;
    if (end) {
        copy(task->code, sizeof task->code, end->error_code);
        copy(task->error, sizeof task->error, end->error);
        copy(task->result, sizeof task->result, end->result);
    }
    free(text);
}

static void on_returned(struct run *run)
{
    ended_count++;
    task_of(run)->fate = RETURNED;
}

/* Runs the loop until `want` more tasks have ended, or this one has started. False if that takes too long. */
static bool run_until(unsigned want, const struct task *started)
{
    bool ended = UNTIL(started ? started->starts : ended_count >= want);
    ended_count = started ? ended_count : ended_count - (ended_count < want ? ended_count : want);
    return ended;
}

static struct list staged[2];
static struct run *on_next(struct list *from)
{
    struct list *node = list_pop(from);
    return node ? container_of(node, struct run, place) : NULL;
}

static unsigned lane_of(const struct task_type *type)
{
    return type->queue && strcmp(type->queue, "live") == 0;
}

static void give(struct task *task, const char *type, const char *args)
{
    static unsigned number;
    memset(task, 0, sizeof *task);
    struct run *run = &task->job.run;
    snprintf(run->id, sizeof run->id, "task-%u", number++);
    snprintf(run->owner, sizeof run->owner, "alice");
    run->type = task_type_find(type);
    run->attempt = 1;
    run->args = args ? span_of(args) : SPAN("{}");
    list_append(&staged[lane_of(run->type)], &run->place);
    loop_flush(&loop); /* so that the engine takes it */
}

static void stop(struct task *task, enum run_stop why)
{
    slots_engine.cancel(slots, &task->job.run, why);
}

/* Stops the tasks that have not ended; any of them may have been given back already. */
static void stop_open(struct task *tasks, size_t count, enum run_stop why)
{
    for (size_t i = 0; i < count; i++)
        if (tasks[i].fate == OPEN)
            stop(&tasks[i], why);
}

static void test_runs(void)
{
    struct task task;
    give(&task, "noop_heavy", "{\"steps\":4}");
    ok(run_until(1, NULL), "a task ends");
    is_int(task.fate, COMPLETED, "completed");
    is_int(task.starts, 1, "it started once");
    is_int(task.percent, 100, "progress came to the end");
    ok(!task.fell && strcmp(task.stage, "working") == 0, "and never fell");
    is_text(task.result, "{}", "with its result");
}

static void test_coalesces(void)
{
    struct task task;
    give(&task, "noop_heavy", "{\"steps\":100,\"sleep_ms\":3}");
    ok(run_until(1, NULL), "a task with 100 reports ends");
    ok(task.updates >= 3 && task.updates <= 12, "%u updates reach the holder", task.updates);
    is_int(task.percent, 100, "the last among them");
    ok(!task.fell, "progress never fell");
}

static void test_many(void)
{
    static struct task tasks[3000];
    struct task warm;
    for (int i = 0; i < 20; i++) {
        give(&warm, "noop_heavy", "{\"steps\":0}");
        run_until(1, NULL);
    }
    uint64_t begun = clock_mono_us();
    size_t given = 0, completed = 0;
    while (completed < NELEMS(tasks)) {
        unsigned room = slots_engine.room(slots, 0);
        for (; room && given < NELEMS(tasks); room--)
            give(&tasks[given++], "noop_heavy", "{\"steps\":0}");
        if (!run_until(1, NULL))
            break;
        completed += 1 + ended_count;
        ended_count = 0;
    }
    uint64_t took = clock_mono_us() - begun;
    unsigned good = 0;
    for (size_t i = 0; i < NELEMS(tasks); i++)
        good += tasks[i].fate == COMPLETED && tasks[i].starts == 1;
    is_int(good, NELEMS(tasks), "all of %zu short tasks completed, each started once", NELEMS(tasks));
    diag("%.2f us per task", (double)took / (double)NELEMS(tasks));
}

/* A task that is expected to be quick and is not: ends before it are not held back for long, and stopping it
 * affects no other task. */
static void test_slow_one_among_quick_ones(void)
{
    struct task busy, warm, slow, quick[14];
    give(&busy, "misbehave", "{\"mode\":\"patient\"}"); /* one place is left */
    run_until(0, &busy);
    for (int i = 0; i < 20; i++) {
        give(&warm, i % 2 ? "noop_heavy" : "misbehave", i % 2 ? "{\"steps\":0}" : "{\"mode\":\"badtext\"}");
        run_until(1, NULL);
    }
    for (size_t i = 0; i < NELEMS(quick); i++) {
        if (i == 12)
            give(&slow, "misbehave", "{\"mode\":\"hang\"}");
        give(&quick[i], "noop_heavy", "{\"steps\":0}");
    }
    uint64_t begun = clock_mono_ms();
    ok(run_until(NELEMS(quick), NULL), "the quick ones end");
    ok(in_time(clock_mono_ms() - begun, 2000), "although one goes on");
    unsigned good = 0, returned = 0;
    for (size_t i = 0; i < NELEMS(quick); i++) {
        good += quick[i].fate == COMPLETED && quick[i].starts == 1;
        returned += quick[i].fate == RETURNED && quick[i].starts == 0;
    }
    is_int(good + returned, NELEMS(quick),
           "they completed or are given back"); /* given back if the loop turns rarely */
    ok(quick[12].fate == RETURNED && quick[13].fate == RETURNED, "those behind it are given back");
    ok(run_until(0, &slow), "it says that it started");
    stop(&slow, STOP_CANCEL);
    stop(&busy, STOP_CANCEL);
    ok(run_until(2, NULL), "and ends");
    is_int(slow.fate, CANCELLED, "cancelled");
}

static void test_dies_alone(void)
{
    struct task crash, exits, lie, after[4];
    give(&crash, "misbehave", "{\"mode\":\"crash\"}");
    give(&exits, "misbehave", "{\"mode\":\"exit\"}");
    give(&lie, "misbehave", "{\"mode\":\"lie\"}");
    for (size_t i = 0; i < NELEMS(after); i++)
        give(&after[i], "noop_heavy", "{\"steps\":1}");
    ok(run_until(7, NULL), "tasks that kill their process and others end");
    ok(crash.fate == DIED && strstr(crash.error, "signal 11"), "a crash is a death: %s", crash.error);
    ok(exits.fate == DIED && strstr(exits.error, "code 7"), "so is an exit: %s", exits.error);
    ok(lie.fate == DIED, "and breaking the protocol");
    for (size_t i = 0; i < NELEMS(after); i++)
        ok(after[i].fate == COMPLETED, "task %zu behind them completed", i);
}

static void test_cancel(const char *mode, unsigned at_least, unsigned at_most)
{
    struct task task;
    char args[64];
    snprintf(args, sizeof args, "{\"mode\":\"%s\"}", mode);
    if (mode[0] == '\0')
        give(&task, "noop_heavy", "{\"steps\":10,\"sleep_ms\":60000}");
    else
        give(&task, "misbehave", args);
    ok(run_until(0, &task), "a task runs (%s)", mode);
    uint64_t begun = clock_mono_ms();
    stop(&task, STOP_CANCEL);
    ok(run_until(1, NULL), "a cancelled task ends (%s)", mode);
    uint64_t took = clock_mono_ms() - begun;
    is_int(task.fate, CANCELLED, "cancelled (%s)", mode);
    ok(took >= at_least && in_time(took, at_most), "after %u ms (%s)", (unsigned)took, mode);
}

static void test_cancel_waiting(void)
{
    struct task tasks[6];
    for (size_t i = 0; i < NELEMS(tasks); i++)
        give(&tasks[i], "noop_heavy", "{\"steps\":1,\"sleep_ms\":100}");
    stop(&tasks[5], STOP_CANCEL);
    is_int(tasks[5].fate, CANCELLED, "a task that has not begun is cancelled at once");
    is_int(tasks[5].starts, 0, "and never starts");
    ok(run_until(6, NULL), "the others end");
}

static void test_hoards_nothing(void)
{
    struct task tasks[6];
    uint64_t begun = clock_mono_ms();
    for (size_t i = 0; i < NELEMS(tasks); i++)
        give(&tasks[i], "noop_heavy", "{\"steps\":1,\"sleep_ms\":60000}");
    ok(run_until(4, NULL), "what cannot begin comes back");
    ok(in_time(clock_mono_ms() - begun, 1000), "soon");
    unsigned returned = 0;
    for (size_t i = 0; i < NELEMS(tasks); i++)
        returned += tasks[i].fate == RETURNED && tasks[i].starts == 0;
    is_int(returned, 4, "all but the two that run");
    for (size_t i = 0; i < NELEMS(tasks) && returned != 4; i++)
        diag("task %zu: fate %d %s, %u starts", i, (int)tasks[i].fate, tasks[i].code, tasks[i].starts);
    ok(slots_engine.room(slots, 0) == 0, "there is no room meanwhile");
    stop_open(tasks, NELEMS(tasks), STOP_CANCEL);
    ok(run_until(2, NULL), "those end");
}

/* The engine reads the clock once for all its processes; the start of a quick task is noticed after that. */
static void test_clock_read_before_the_start(void)
{
    struct task task;
    uint64_t end = clock_mono_ms() + 20000;
    give(&task, "noop_heavy", "{\"steps\":1,\"sleep_ms\":60000}");
    uv_run(&loop.uv, UV_RUN_NOWAIT); /* it is sent */
    while (slot_proc_begun(task.job.proc) != &task.job && clock_mono_ms() < end)
        sched_yield();
    slot_proc_tick(task.job.proc, clock_mono_ms() - 1);
    is_int(task.starts, 1, "a tick sees that a task has begun");
    is_int(task.job.stop, STOP_NONE, "and not that it ran too long");
    stop(&task, STOP_CANCEL);
    ok(run_until(1, NULL), "it ends");
    is_int(task.fate, CANCELLED, "cancelled");
}

static void test_limits(void)
{
    struct task task, patient;
    give(&patient, "misbehave", "{\"mode\":\"patient\"}");
    give(&task, "misbehave", "{\"mode\":\"spin\"}");
    ok(run_until(1, NULL), "a task beyond its soft limit is asked to end");
    ok(patient.fate == FAILED && strcmp(patient.code, "timeout") == 0, "and failed by the time limit");
    ok(run_until(1, NULL), "a task beyond its hard limit ends");
    is_int(task.fate, FAILED, "failed");
    is_text(task.code, "timeout", "by the time limit");
    uint64_t took = task.ended_ms - task.started_ms;
    ok(took >= 4900 && in_time(took, 6500), "after %u ms", (unsigned)took);
}

static void test_bad_reports(void)
{
    struct task task;
    give(&task, "misbehave", "{\"mode\":\"badtext\"}");
    ok(run_until(1, NULL), "a task that writes no UTF-8 ends");
    is_text(task.error, "e?rror", "its error is text");
    is_text(task.stage, "st?age", "so is its stage");
    ok(task.percent == 100 && !task.fell, "its progress is within bounds");
    give(&task, "misbehave", "{\"mode\":\"bigresult\"}");
    ok(run_until(1, NULL), "a task with too large a result ends");
    is_text(task.code, "result_too_large", "and is told so");
}

static void test_stream(void)
{
    struct task task;
    char hex[65];
    unsigned char hash[32];
    struct buf data = BUF_INIT;
    for (uint32_t i = 0; i < 50000; i++)
        buf_append(&data, &i, sizeof i);
    crypto_hash_sha256(hash, (unsigned char *)data.data, data.len);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    uint64_t begun = clock_mono_ms();
    give(&task, "noop_stream", NULL);
    ok(run_until(0, &task), "a fresh task starts");
    ok(task.job.proc->born_ms < begun, "in a process that stood ready");
    diag("after %u ms", (unsigned)(task.started_ms - begun));
    for (size_t at = 0; at < data.len; at += 10000)
        slots_engine.audio(slots, &task.job.run, (struct span){data.data + at, 10000}, false);
    slots_engine.audio(slots, &task.job.run, SPAN_NONE, true);
    ok(run_until(1, NULL), "it ends with its stream");
    is_int(task.fate, COMPLETED, "completed");
    ok(strstr(task.result, hex), "with every byte: %s", task.result);
    ok(strstr(task.result, "\"preloaded\": true") || strstr(task.result, "\"preloaded\":true"),
       "preload() ran in its parent");
    ok(task.taken > 100000, "its reader told how far it is");
    buf_free(&data);
}

/* A FRESH task that is cancelled before its child has begun takes no place. */
static void test_cancelled_before_it_began(void)
{
    struct task task;
    unsigned starts = 0;
    for (int i = 0; i < 10; i++) {
        give(&task, "noop_stream", NULL);
        uv_run(&loop.uv, UV_RUN_NOWAIT); /* it is sent */
        stop(&task, STOP_CANCEL);
        ok(run_until(1, NULL), "one ends");
        starts += task.starts;
    }
    diag("%u of 10 had begun", starts);
    give(&task, "noop_heavy", "{\"steps\":1,\"sleep_ms\":500}"); /* the children have ended meanwhile */
    run_until(1, NULL);
    is_int(slots_engine.room(slots, 1), options.slots_live, "there is as much room as ever");
    give(&task, "noop_stream", NULL);
    ok(run_until(0, &task), "and another one starts");
    stop(&task, STOP_CANCEL);
    ok(run_until(1, NULL), "and ends");
}

/* Kills all children of this process with this name. Returns how many. */
static unsigned kill_children(const char *name)
{
    char command[128], line[32];
    unsigned count = 0;
    snprintf(command, sizeof command, "ps -o pid=,comm= --ppid %d | grep %.14s | cut -c1-8", (int)getpid(),
             name);
    FILE *list = popen(command, "r");
    while (list && fgets(line, sizeof line, list)) {
        count++;
        kill((pid_t)strtol(line, NULL, 10), SIGKILL);
    }
    if (list)
        pclose(list);
    return count;
}

static void test_preforks_die(void)
{
    struct task task, next;
    give(&task, "noop_heavy", "{\"steps\":5,\"sleep_ms\":50}");
    ok(run_until(0, &task), "a task runs");
    ok(kill_children("taskhub-prefork") >= 2, "the prefork parents are killed");
    ok(run_until(1, NULL), "it ends");
    is_int(task.fate, COMPLETED, "completed: slots outlive their prefork parent");
    ok(kill_children("taskhub-slot") >= 1, "the slots are killed");
    uint64_t begun = clock_mono_ms();
    give(&next, "noop_heavy", "{\"steps\":0}");
    ok(run_until(1, NULL), "a task behind them ends");
    is_int(next.fate, COMPLETED, "in a slot of a new prefork parent");
    ok(in_time(clock_mono_ms() - begun, 500), "soon");
}

static void test_drain(void)
{
    struct task tasks[4];
    for (size_t i = 0; i < NELEMS(tasks); i++)
        give(&tasks[i], "noop_heavy", "{\"steps\":1,\"sleep_ms\":1000}");
    ok(run_until(0, &tasks[0]) && run_until(0, &tasks[1]), "two tasks run");
    stop_open(tasks, NELEMS(tasks), STOP_RETURN);
    ok(tasks[2].fate == RETURNED && tasks[3].fate == RETURNED, "the others come back at once");
    ended_count = 0;
    ok(run_until(2, NULL), "the running ones end");
    ok(tasks[0].fate == COMPLETED && tasks[1].fate == COMPLETED, "completed");
    give(&tasks[0], "misbehave", "{\"mode\":\"hang\"}");
    ok(run_until(0, &tasks[0]), "one hangs");
    stop(&tasks[0], STOP_DRAIN);
    ok(run_until(1, NULL), "it is killed");
    ok(tasks[0].fate == RETURNED, "and may run elsewhere");
    give(&tasks[0], "misbehave", "{\"mode\":\"hang\"}");
    ok(run_until(0, &tasks[0]), "another one hangs");
    stop(&tasks[0], STOP_LOST);
    ok(run_until(1, NULL), "its lease is lost: it is killed");
    is_int(tasks[0].fate, DROPPED, "without a report");
}

int main(int argc, char **argv)
{
    if (sodium_init() < 0)
        return 1;
    task_types_use(builtin_task_types);
    if (argc >= 2 && strcmp(argv[1], PREFORK_WORD) == 0)
        return prefork_main(argv + 2);
    log_setup("test_slots", "error", "logfmt");
    signal(SIGPIPE, SIG_IGN);
    options.slots_default = options.slots_live = 2;
    options.worker_prefetch = 32;
    options.result_bytes = 1 << 20;
    options.progress_coalesce_ms = 100;
    options.diagnostics = true;
    char level[] = "error", format[] = "logfmt";
    options.log_level = level;
    options.log_format = format;
    if (loop_init(&loop) < 0)
        return 1;
    static const struct engine_hooks hooks = {on_next,  on_started, on_update,  on_call,
                                              on_taken, on_ended,   on_returned};
    list_init(&staged[0]);
    list_init(&staged[1]);
    slots = slots_engine.start(&(struct engine_config){&loop, &options, &hooks, staged});
    test_runs();
    test_coalesces();
    test_slow_one_among_quick_ones();
    test_dies_alone();
    test_cancel("", 0, 500);
    test_cancel("spin", 900, 1900);
    test_cancel("children", 900, 1900);
    test_cancel_waiting();
    test_many();
    test_hoards_nothing();
    test_clock_read_before_the_start();
    test_bad_reports();
    test_stream();
    test_cancelled_before_it_began();
    test_preforks_die();
    test_drain();
    test_limits();
    slots_engine.stop(slots);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    ok(loop_deinit(&loop) == 0, "nothing is left in the loop");
    return done_testing();
}
