/* SPDX-License-Identifier: MIT */
/* The states of a run, and its engine's reports, which are kept until Redis has them. A run leaves `leased`
 * as soon as no more writes about it are allowed. Loop thread. */
#include "hub/base/log.h"
#include "hub/json/json.h"
#include "tasks/queue/services.h"
#include "tasks/runner/runner_private.h"

#define SPARE_MAX 1024 /* freed objects kept for reuse, per engine */
#define PIECE 65536    /* most bytes of one read */

struct final { /* a final piece or a log line, kept until Redis has it */
    struct list node;
    struct run *run;
    enum queue_update_kind kind;
    unsigned number; /* lets Redis ignore one that it took although no answer came */
    bool reporting;
    size_t size;
    char text[];
};

struct question { /* a question to a service; keeps the run alive */
    struct list node;
    struct run *run;
    uint32_t call;
};

/* ---- runs ---------------------------------------------------------------------------------------- */

static struct runner *runner_of(const struct run *run)
{
    return run->lane->runner;
}

static struct queue *queue_of(const struct run *run)
{
    return run->lane->runner->config.queue;
}

static bool is_leased(enum run_state state)
{
    return state == RUN_LEASED || state == RUN_REPORTING || state == RUN_UNREPORTED;
}

static void move_lists(struct runner *runner, struct run *run, bool hold)
{
    list_remove(&run->node);
    list_append(hold ? &runner->leased : &runner->unleased, &run->node);
    if (hold)
        table_insert(&runner->by_id, &run->by_id);
    else
        table_remove(&runner->by_id, &run->by_id);
    runner->leased_count += hold ? 1u : -1u;
}

#define MAY(state) (1u << RUN_##state)
void run_become(struct run *run, enum run_state to)
{
    static const unsigned moves[RUN_STATES] = {
        [RUN_NEW] = MAY(FIRST) | MAY(LEASED) | MAY(FINISHED),
        [RUN_FIRST] = MAY(DONE) | MAY(LEASED) | MAY(LOST),
        [RUN_DONE] = MAY(REPORTING) | MAY(FINISHED),
        [RUN_LEASED] = MAY(REPORTING) | MAY(LOST) | MAY(FINISHED),
        [RUN_LOST] = MAY(FINISHED),
        [RUN_REPORTING] = MAY(UNREPORTED) | MAY(FINISHED),
        [RUN_UNREPORTED] = MAY(REPORTING) | MAY(FINISHED),
    };
    struct runner *runner = runner_of(run);
    enum run_state from = run->state;
    if (!(moves[from] >> to & 1))
        abort();
    run->state = to;
    if (is_leased(from) != is_leased(to))
        move_lists(runner, run, is_leased(to));
    if (from < RUN_REPORTING && to >= RUN_REPORTING)
        runner->active--;
}

struct run *run_new(struct run_lane *lane, const struct task_type *type, struct span owner)
{
    struct running_engine *engine = lane->engine;
    struct runner *runner = lane->runner;
    struct list *node = list_pop(&engine->spare);
    struct run *run;
    if (node) {
        run = container_of(node, struct run, node);
        engine->spare_count--;
    } else {
        run = xmalloc(engine->holder_at + runner->config.holder_size);
    }
    memset(run, 0, offsetof(struct run, id));
    memset((char *)run + engine->holder_at, 0, runner->config.holder_size);
    run->type = type;
    run->lane = lane;
    run->gone = runner->config.hooks.gone;
    run->attempt = 1;
    run->args = SPAN("{}");
    run->by_id.key = (struct span){run->id, ID_SIZE - 1};
    list_init(&run->finals);
    list_init(&run->node);
    list_append(&runner->unleased, &run->node);
    memcpy(run->owner, owner.p, owner.n);
    run->owner[owner.n] = '\0';
    runner->load++;
    runner->active++;
    return run;
}

void *run_holder(struct run *run)
{
    return (char *)run + run->lane->engine->holder_at;
}

void run_set_args(struct run *run, struct span args)
{
    if (args.n == 0)
        return;
    char *to = args.n > RUN_ARGS_INLINE ? run->args_text = xmalloc(args.n) : run->args_inline;
    memcpy(to, args.p, args.n);
    run->args = (struct span){to, args.n};
}

/* Call when no call is under way. */
void run_free(struct run *run)
{
    struct runner *runner = runner_of(run);
    struct running_engine *engine = run->lane->engine;
    if (run->gone)
        run->gone(run_holder(run));
    for (struct list *node; (node = list_pop(&run->finals)) != NULL;)
        free(container_of(node, struct final, node));
    list_remove(&run->node);
    free(run->end_text);
    free(run->args_text);
    runner->load--;
    if (engine->spare_count == SPARE_MAX) {
        free(run);
        return;
    }
    engine->spare_count++;
    list_append(&engine->spare, &run->node);
}

/* Ends the run's life: nothing more is to be reported. */
static void finish(struct run *run)
{
    run_become(run, RUN_FINISHED);
    if (run->calls == 0)
        run_free(run);
}

/* Counts a call that came back. False if it was the last one of a finished run, which is freed then. */
static bool call_returned(struct run *run)
{
    if (--run->calls || run->state != RUN_FINISHED)
        return true;
    run_free(run);
    return false;
}

struct run *run_find(struct runner *runner, const char *id)
{
    struct table_node *node = table_find(&runner->by_id, span_of(id));
    return node ? container_of(node, struct run, by_id) : NULL;
}

void run_lose(struct run *run)
{
    if (!is_leased(run->state))
        return;
    log_info("a lease was lost", "task_id", run->id, "fence", LOG_NUM(run->fence));
    if (run->state == RUN_LEASED) {
        run_become(run, RUN_LOST);
        run_stop(run, STOP_LOST);
    } else {
        finish(run);
    }
}

void run_cancel(struct run *run)
{
    if (run->state == RUN_LEASED)
        run_stop(run, STOP_CANCEL);
}

/* Whether the answer means that the lease is lost. */
static bool is_lease_lost(enum queue_code code)
{
    return code != QUEUE_OK && code != QUEUE_UNAVAILABLE;
}

/* ---- reports ------------------------------------------------------------------------------- */

static void on_start_reported(void *ctx, enum queue_code code)
{
    struct run *run = ctx;
    if (code == QUEUE_UNAVAILABLE)
        run->begun = RUN_BEGUN;
    if (call_returned(run) && is_lease_lost(code))
        run_lose(run);
}

static void report_start(struct run *run)
{
    run->begun = RUN_BEGUN_REPORTED;
    run->calls++;
    queue_started(queue_of(run), run->id, run->fence, on_start_reported, run);
}

static void read_stream(struct run *run);

static struct run *on_next(struct list *staged)
{
    struct list *node = list_pop(staged);
    if (node == NULL)
        return NULL;
    struct run *run = container_of(node, struct run, place);
    run->begun = RUN_WAITS;
    return run;
}

static void on_started(struct run *run)
{
    if (run->begun == RUN_WAITS)
        run->begun = RUN_BEGUN;
    if (run->state != RUN_LEASED || run->begun != RUN_BEGUN)
        return;
    report_start(run);
    read_stream(run);
}

static void on_final_reported(void *ctx, enum queue_code code)
{
    struct final *final = ctx;
    struct run *run = final->run;
    final->reporting = false;
    if (code != QUEUE_UNAVAILABLE) {
        list_remove(&final->node);
        free(final);
    }
    if (call_returned(run) && is_lease_lost(code))
        run_lose(run);
}

static void report_final(struct final *final)
{
    struct run *run = final->run;
    struct span text = {final->text, final->size};
    struct queue_update update = {
        .kind = final->kind, .id = run->id, .fence = run->fence, .number = final->number};
    if (final->kind == QUEUE_LOG)
        update.message = text;
    else
        update.meta = text;
    final->reporting = true;
    run->calls++;
    queue_update(queue_of(run), &update, on_final_reported, final);
}

/* Whether a new final may be sent now: a higher number that overtakes a lower one would make Redis ignore the
 * lower one. */
static bool is_in_turn(const struct run *run)
{
    struct list *last = run->finals.prev;
    return runner_of(run)->state == RUNNER_UP &&
           (last == &run->finals || container_of(last, const struct final, node)->reporting);
}

static void on_update(struct run *run, const struct queue_update *update)
{
    if (run->state != RUN_LEASED)
        return;
    if (update->kind != QUEUE_FINAL && update->kind != QUEUE_LOG) {
        struct queue_update full = *update;
        full.id = run->id;
        full.fence = run->fence;
        full.attempt = run->attempt;
        full.task = run->type->name;
        full.reported = &run->reported;
        queue_update(queue_of(run), &full, NULL, NULL);
        return;
    }
    struct span text = update->kind == QUEUE_LOG ? update->message : update->meta;
    struct final *final = xmalloc(sizeof *final + text.n);
    *final = (struct final){.run = run, .kind = update->kind, .number = ++run->last_final, .size = text.n};
    memcpy(final->text, text.p, text.n);
    bool now = is_in_turn(run);
    list_append(&run->finals, &final->node);
    if (now)
        report_final(final);
}

/* Sends the reports that Redis has not taken yet. */
static void report_backlog(struct run *run)
{
    if (run->begun == RUN_BEGUN)
        report_start(run);
    list_for_each (node, &run->finals) {
        struct final *final = container_of(node, struct final, node);
        if (!final->reporting)
            report_final(final);
    }
}

/* ---- the end ------------------------------------------------------------------------------------- */

static void on_end_reported(void *ctx, enum queue_code code)
{
    struct run *run = ctx;
    if (!call_returned(run) || run->state != RUN_REPORTING)
        return;
    if (code == QUEUE_UNAVAILABLE) {
        run_become(run, RUN_UNREPORTED);
        return;
    }
    if (is_lease_lost(code))
        log_info("a report came too late and changed nothing", "task_id", run->id, "fence",
                 LOG_NUM(run->fence));
    finish(run);
}

/* Reports the end, after the reports that must precede it. */
static void report_end(struct run *run)
{
    run_become(run, RUN_REPORTING);
    report_backlog(run);
    run->calls++;
    run->end.id = run->id;
    run->end.fence = run->fence;
    queue_end(queue_of(run), &run->end, on_end_reported, run);
}

/* Call when no engine has the run any more and run->end is set. */
static void settle(struct run *run)
{
    const struct runner_hooks *hooks = &runner_of(run)->config.hooks;
    struct queue_submit record;
    if (run->state == RUN_LOST) {
        finish(run);
    } else if (run->state == RUN_LEASED) {
        report_end(run);
    } else {
        run_become(run, RUN_DONE);
        if (hooks->done(run_holder(run), &record))
            queue_submit(queue_of(run), &record, hooks->recorded, run_holder(run));
    }
}

static void on_ended(struct run *run, const struct queue_end *end, char *text)
{
    runner_of(run)->done++;
    run->end_text = text;
    if (end == NULL) {
        finish(run);
        return;
    }
    run->end = *end;
    if (end->kind == QUEUE_RETURNED) {
        run->end.error_code = SPAN("worker_stopped");
        run->end.error = SPAN("The process that ran the task was stopped");
    }
    if (run->begun == RUN_WAITS && run->began_ms)
        run->begun = RUN_BEGUN;
    settle(run);
}

static void on_returned(struct run *run)
{
    run->end = (struct queue_end){.kind = QUEUE_RETURNED};
    settle(run);
}

void run_stop(struct run *run, enum run_stop why)
{
    if (run->begun != RUN_STAGED) {
        run->lane->engine->table->cancel(run->lane->engine->self, run, why);
        return;
    }
    list_remove(&run->place);
    run->end = (struct queue_end){.kind = why == STOP_CANCEL ? QUEUE_CANCELLED : QUEUE_RETURNED};
    settle(run);
}

void run_refuse(struct run *run, enum queue_end_kind kind, const char *code, const char *error)
{
    run_become(run, RUN_LEASED);
    run->end = (struct queue_end){.kind = kind, .error_code = span_of(code), .error = span_of(error)};
    report_end(run);
}

void runs_report_again(struct runner *runner)
{
    list_for_each_safe (node, after, &runner->leased) {
        struct run *run = container_of(node, struct run, node);
        if (run->state == RUN_LEASED)
            report_backlog(run);
        else if (run->state == RUN_UNREPORTED)
            report_end(run);
    }
}

/* ---- streams: read from the start at each attempt, no faster than the task reads ---------- */

static void on_stream_data(void *ctx, enum queue_code code, struct span bytes, bool ended, uint64_t total)
{
    struct run *run = ctx;
    const struct running_engine *engine = run->lane->engine;
    run->reading = false;
    if (!call_returned(run) || code != QUEUE_OK || run->state != RUN_LEASED)
        return; /* the poll tries again; the heartbeat reports a task that is gone */
    run_note_stream(run, total, ended);
    run->read += bytes.n;
    run->read_all = ended && run->read >= total;
    if (bytes.n || run->read_all)
        engine->table->audio(engine->self, run, bytes, run->read_all);
    if (bytes.n && !run->read_all)
        read_stream(run);
}

static void read_stream(struct run *run)
{
    struct runner *runner = runner_of(run);
    if (!run->type->stream || run->state != RUN_LEASED || run->begun <= RUN_WAITS || run->read_all ||
        run->reading || runner->state != RUNNER_UP || run->lane->engine->table->audio == NULL)
        return;
    uint64_t inside = run->read - run->taken;
    if (inside >= STREAM_WINDOW)
        return;
    size_t room = STREAM_WINDOW - (size_t)inside;
    run->reading = true;
    run->calls++;
    queue_audio_read(runner->config.queue, run->owner, run->id, run->read, room < PIECE ? room : PIECE,
                     on_stream_data, run);
}

void runs_read_streams(struct runner *runner)
{
    list_for_each_safe (node, after, &runner->leased) {
        struct run *run = container_of(node, struct run, node);
        if (run->state == RUN_LEASED)
            read_stream(run);
    }
}

static void on_audio_taken(struct run *run, uint64_t total)
{
    if (total <= run->taken || total > run->read)
        return;
    run->taken = total;
    read_stream(run);
}

void runner_audio(struct runner *runner, const char *id)
{
    struct run *run = run_find(runner, id);
    if (run && run->state == RUN_LEASED)
        read_stream(run);
}

/* ---- services ------------------------------------------------------------------------------------ */

static void answer(struct run *run, uint32_t call, struct span json)
{
    run->lane->engine->table->answer(run->lane->engine->self, run, call, json);
}

static void on_answer(void *ctx, struct span json)
{
    struct question *question = ctx;
    struct run *run = question->run;
    uint32_t call = question->call;
    list_remove(&question->node);
    free(question);
    if (call_returned(run) && (run->state == RUN_FIRST || run->state == RUN_LEASED))
        answer(run, call, json);
}

static void on_call(struct run *run, uint32_t call, const char *name, struct span args)
{
    struct runner *runner = runner_of(run);
    const struct service *service = service_find(name, run->type->name);
    const char *reason;
    if (service == NULL || runner->state != RUNNER_UP ||
        json_check(args, JSON_LIMITS, &reason) != KIND_OBJECT) {
        answer(run, call, SPAN_NONE);
        return;
    }
    struct question *question = xmalloc(sizeof *question);
    *question = (struct question){.run = run, .call = call};
    run->calls++;
    list_append(&runner->questions, &question->node);
    service->call(runner->config.queue, args, on_answer, question);
}

void runs_forget_questions(struct runner *runner)
{
    for (struct list *node; (node = list_pop(&runner->questions)) != NULL;)
        free(container_of(node, struct question, node));
}

const struct engine_hooks run_hooks = {
    .next = on_next,
    .started = on_started,
    .update = on_update,
    .call = on_call,
    .audio_taken = on_audio_taken,
    .ended = on_ended,
    .returned = on_returned,
};

void run_give(struct run *run)
{
    run_become(run, RUN_LEASED);
    list_append(run->lane->staged, &run->place);
}

/* ---- tasks that are made here -------------------------------------------------------------------- */

struct run_lane *runner_lane(struct runner *runner, const char *queue)
{
    for (size_t i = 0; i < runner->lane_count; i++)
        if (strcmp(queue, runner->lanes[i].queue) == 0)
            return &runner->lanes[i];
    return NULL;
}

void runner_run_first(struct run *run)
{
    run_become(run, RUN_FIRST);
    list_append(run->lane->staged, &run->place);
}

void runner_adopt(struct run *run, unsigned fence)
{
    const struct running_engine *engine = run->lane->engine;
    /* A cancel can find the record before this process has the answer. */
    bool cancelled = runner_was_cancelled(runner_of(run), run->id);
    run->fence = fence;
    if (run->state == RUN_DONE) {
        report_end(run);
    } else if (run->state == RUN_FIRST) {
        run_become(run, RUN_LEASED);
        if (engine->table->listen && run->begun != RUN_STAGED)
            engine->table->listen(engine->self, run);
        if (cancelled)
            run_cancel(run);
    } else if (cancelled) {
        run_refuse(run, QUEUE_CANCELLED, "", "");
    } else {
        run_give(run);
    }
}

void runner_drop(struct run *run)
{
    if (run->state != RUN_FIRST) {
        finish(run);
        return;
    }
    run_become(run, RUN_LOST);
    run_stop(run, STOP_LOST);
}
