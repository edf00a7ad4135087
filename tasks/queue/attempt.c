/* SPDX-License-Identifier: MIT */
/* What runners do with attempts (lease, beat, reclaim) and what they report about them (starts, progress,
 * ends); see queue.h. A task has one item per call: reports gather in the item of its start, and join the
 * item of its end if that comes before the call is made. Loop thread only. Decides nothing: the Lua
 * function refuses writes under a lease that is over. */
#include "hub/base/clock.h"
#include "tasks/queue/client_private.h"

#define MESSAGE_MAX 512
#define ERROR_MAX 4096
#define LINES_MAX 65536 /* of one task */

/* ---- reports ---------------------------------------------------------------------------------------- */

static size_t report_size(const struct report *report)
{
    return report->message.len + report->meta.len + report->lines.len;
}

/* Leaves message and meta to the caller, which stores them differently per kind. */
static struct event_text text_of(const struct queue_update *update)
{
    const struct queue_reported *now = update->reported;
    bool staged = now->stage[0] && strcmp(now->stage, "started") != 0;
    return (struct event_text){.code = update->kind == QUEUE_PROGRESS ? 'P' : 'p',
                               .attempt = update->attempt,
                               .progress = now->percent,
                               .at_ms = clock_wall_ms(),
                               .id = span_of(update->id),
                               .task = span_of(update->task),
                               .stage = staged ? span_of(now->stage) : SPAN_NONE,
                               .quoted = true};
}

static void add_progress(struct report *report, const struct queue_update *update)
{
    struct queue_reported *now = update->reported;
    int percent = update->percent > 100 ? 100 : update->percent;
    if (percent > now->percent)
        now->percent = percent;
    if (update->stage && update->stage[0]) {
        text_word(now->stage, update->stage, strlen(update->stage));
        memcpy(report->stage, now->stage, sizeof report->stage);
    }
    struct event_text text = text_of(update);
    if (update->message.p) {
        buf_clear(&report->message);
        text_quoted(&report->message, update->message, MESSAGE_MAX);
        text.message = buf_span(&report->message);
    }
    if (update->meta.n) {
        buf_clear(&report->meta);
        text_json(&report->meta, update->meta);
        text.meta = buf_span(&report->meta);
    }
    event_text_line(&report->lines, &text, now->rev);
}

static void add_partial(struct buf *lines, const struct queue_update *update)
{
    struct event_text text = text_of(update);
    text.meta = update->meta;
    event_text_line(lines, &text, update->reported->rev);
}

/* ---- items ------------------------------------------------------------------------------------------ */

/* `answer`: number and code of each item that failed; the others succeeded. */
static void on_codes(struct batch *batch, const redisReply *answer)
{
    size_t number = 0, at = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        if (item->skipped)
            continue;
        enum queue_code code = answer ? QUEUE_OK : QUEUE_UNAVAILABLE;
        if (reply_number(answer, at) == (int64_t)++number) {
            code = reply_code(answer, at + 1);
            at += 2;
        }
        if (item->started)
            item->started(item->started_ctx, code);
        if (item->fn.done)
            item->fn.done(item->ctx, code);
    }
}

static const struct stage_call report_call = {STAGE_REPORT, FUNCTION("report"), numbers_retention, on_codes};
static const struct stage_call update_call = {STAGE_UPDATE, FUNCTION("update"), NULL, on_codes};
static const struct stage_call end_call = {STAGE_END, FUNCTION("report"), numbers_retention, on_codes};

static struct item *lease_item(struct queue *queue, const struct stage_call *call, const char *id,
                               unsigned fence, queue_done_fn *fn, void *ctx, struct batch **ret_batch)
{
    struct item *item = item_new(queue, call, id, (union answer_fn){.done = fn}, ctx, ret_batch);
    item->fence = fence;
    words_text(&(*ret_batch)->words, id);
    words_number(&(*ret_batch)->words, fence);
    return item;
}

/* The item that gathers the reports under this lease; made if there is none. */
static struct item *report_item(struct queue *queue, const char *id, unsigned fence, struct batch **ret_batch)
{
    struct item *item = item_find(queue, STAGE_REPORT, id);
    if (item && item->fence == fence) {
        *ret_batch = queue->open[STAGE_REPORT];
        return item;
    }
    if (item)
        batch_seal(queue, STAGE_REPORT); /* a task stands in a call once */
    item = lease_item(queue, &report_call, id, fence, NULL, NULL, ret_batch);
    item_done(*ret_batch);
    return item;
}

/* `end`: the verb of the end, 0 = none. */
static void set_verbs(struct item *item, const char *end)
{
    size_t n = 0;
    if (item->start)
        item->verbs[n++] = 's';
    if (item->report)
        item->verbs[n++] = 'p';
    while (*end)
        item->verbs[n++] = *end++;
    item->verbs[n] = '\0';
}

/* ---- calls ------------------------------------------------------------------------------------------ */

void queue_started(struct queue *queue, const char *id, unsigned fence, queue_done_fn *fn, void *ctx)
{
    struct batch *batch;
    struct item *item = report_item(queue, id, fence, &batch);
    item->started = fn;
    item->started_ctx = ctx;
    item->start = true;
    set_verbs(item, "");
}

/* Adds a line to the attempt's report. Above LINES_MAX the oldest lines are dropped: newer ones say more. */
static void report(struct queue *queue, const struct queue_update *update)
{
    struct batch *batch;
    struct item *item = report_item(queue, update->id, update->fence, &batch);
    if (item->report == NULL)
        item->report = xcalloc(1, sizeof *item->report);
    struct report *report = item->report;
    set_verbs(item, "");
    batch->beside -= report_size(report);
    if (report->lines.len > LINES_MAX || batch_is_large(batch))
        buf_clear(&report->lines);
    update->reported->rev += 2; /* odd revs belong to the Lua library */
    if (update->kind == QUEUE_PROGRESS)
        add_progress(report, update);
    else
        add_partial(&report->lines, update);
    report->rev = update->reported->rev;
    report->percent = update->reported->percent;
    batch->beside += report_size(report);
}

/* A partial result reported after a final piece of the same turn must stay after it. */
static void update_partial(struct queue *queue, const struct queue_update *update)
{
    struct batch *batch;
    struct buf line CLEANUP(buf_free) = BUF_INIT;
    lease_item(queue, &update_call, update->id, update->fence, NULL, NULL, &batch);
    update->reported->rev += 2;
    add_partial(&line, update);
    words_text(&batch->words, "p");
    words_add(&batch->words, buf_span(&line));
    words_number(&batch->words, update->reported->rev);
    item_done(batch);
}

void queue_update(struct queue *queue, const struct queue_update *update, queue_done_fn *fn, void *ctx)
{
    struct batch *batch;
    if (update->kind == QUEUE_PARTIAL && item_find(queue, STAGE_UPDATE, update->id)) {
        update_partial(queue, update);
        return;
    }
    if (update->kind == QUEUE_PROGRESS || update->kind == QUEUE_PARTIAL) {
        report(queue, update);
        return;
    }
    lease_item(queue, &update_call, update->id, update->fence, fn, ctx, &batch);
    if (update->kind == QUEUE_FINAL) {
        words_text(&batch->words, "F");
        words_json(&batch->words, update->meta);
    } else {
        words_text(&batch->words, "L");
        words_quoted(&batch->words, update->message, MESSAGE_MAX);
    }
    words_number(&batch->words, update->number);
    item_done(batch);
}

/* Moves the attempt's report into the item of its end, unless logged pieces stand between them. */
static void take_report(struct queue *queue, const struct queue_end *end, struct batch *batch,
                        struct item *item)
{
    struct item *from = item_find(queue, STAGE_REPORT, end->id);
    if (from == NULL || from->fence != end->fence || !list_empty(&queue->sealed[STAGE_UPDATE]) ||
        item_find(queue, STAGE_UPDATE, end->id))
        return;
    if (from->report) {
        batch->beside += report_size(from->report);
        queue->open[STAGE_REPORT]->beside -= report_size(from->report);
    }
    item->start = from->start;
    item->report = from->report;
    item->started = from->started;
    item->started_ctx = from->started_ctx;
    from->skipped = true;
    from->report = NULL;
}

void queue_end(struct queue *queue, const struct queue_end *end, queue_done_fn *fn, void *ctx)
{
    static const char *const kinds[] = {
        [QUEUE_COMPLETED] = "C", [QUEUE_FAILED] = "X",   [QUEUE_CANCELLED] = "K",
        [QUEUE_DIED] = "D",      [QUEUE_RETURNED] = "B",
    };
    struct batch *batch;
    if (item_find(queue, STAGE_END, end->id))
        batch_seal(queue, STAGE_END); /* a task stands in a call once */
    struct item *item = lease_item(queue, &end_call, end->id, end->fence, fn, ctx, &batch);
    take_report(queue, end, batch, item);
    set_verbs(item, end->kind == QUEUE_FAILED && end->retry ? "Xr" : kinds[end->kind]);
    if (end->kind == QUEUE_COMPLETED) {
        words_json(&batch->words, end->result);
    } else {
        struct span code = end->error_code.n ? end->error_code : SPAN("internal");
        words_quoted(&batch->words, end->error.p ? end->error : SPAN(""), ERROR_MAX);
        words_word(&batch->words, code.p, code.n);
    }
    item_done(batch);
}

/* ---- leases ------------------------------------------------------------------------------------------ */

/* Cuts off and returns the text up to the next `end`, or the rest if there is none; overwrites `end` with
 * a NUL. */
static char *cut(char **rest, char end)
{
    char *word = *rest, *at = strchr(word, end);
    *rest = at ? at + 1 : word + strlen(word);
    if (at)
        *at = '\0';
    return word;
}

static unsigned cut_number(char **rest)
{
    return (unsigned)strtoul(cut(rest, ' '), NULL, 10);
}

/* Parses a task's record (tasks/queue/lua/40_record.lua); the members point into it. */
static struct queue_leased cut_leased(const char *id, char *record, bool *ret_long)
{
    char *fixed = cut(&record, '\n'), *args = cut(&record, '\n'), *state = cut(&record, '\n'), *more;
    struct queue_leased task = {.id = id, .effect_id = id, .args = *args ? span_of(args) : SPAN("{}")};
    task.owner = cut(&fixed, ' ');
    task.task = cut(&fixed, ' ');
    cut(&state, ' '); /* status */
    task.attempt = cut_number(&state);
    task.fence = cut_number(&state);
    for (int skipped = 0; skipped < 3; skipped++) /* holder, progress, seq */
        cut(&state, ' ');
    task.rev = cut_number(&state);
    *ret_long = (more = strstr(state, " y=")) != NULL && memchr(more + 1, 'a', strcspn(more + 1, " "));
    if ((more = strstr(state, " x=")) != NULL) {
        more += strlen(" x=");
        task.effect_id = cut(&more, ' ');
    }
    return task;
}

static void on_leased(struct op *op, const redisReply *answer)
{
    size_t count = 0, at = 1;
    struct queue_leased *tasks = xcalloc(reply_count(answer) / 2, sizeof *tasks);
    while (at + 1 < reply_count(answer) && answer->element[at + 1]->type == REDIS_REPLY_STRING) {
        bool is_long;
        struct queue_leased *task = &tasks[count++];
        *task = cut_leased(reply_text(answer, at), answer->element[at + 1]->str, &is_long);
        at += 2;
        if (is_long && at < reply_count(answer)) {
            task->args = reply_span(answer, at);
            task->args_home = &answer->element[at++]->str;
        }
    }
    op->fn.leased(op->ctx, answer ? QUEUE_OK : QUEUE_UNAVAILABLE, tasks, count,
                  (uint64_t)reply_number(answer, 0));
    free(tasks);
}

void queue_lease(struct queue *queue, const char *name, unsigned count, queue_leased_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("lease"), on_leased, (union answer_fn){.leased = fn}, ctx);
    op_retention(op);
    words_text(&op->words, name);
    words_number(&op->words, count);
    words_number(&op->words, queue->config.lease_ms);
}

static void reclaim_from(struct queue *queue, int64_t skip, queue_done_fn *fn, void *ctx);

static void on_reclaimed(struct op *op, const redisReply *answer)
{
    if (answer == NULL || answer->type != REDIS_REPLY_INTEGER) {
        if (op->fn.done)
            op->fn.done(op->ctx, QUEUE_UNAVAILABLE);
    } else if (answer->integer >= 0) {
        reclaim_from(op->queue, answer->integer, op->fn.done, op->ctx);
    } else if (op->fn.done) {
        op->fn.done(op->ctx, QUEUE_OK);
    }
}

/* Reclaims one slice; skips the first `skip` leases, which belong to other holders. */
static void reclaim_from(struct queue *queue, int64_t skip, queue_done_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("reclaim"), on_reclaimed, (union answer_fn){.done = fn}, ctx);
    op_retention(op);
    words_signed(&op->words, skip);
}

void queue_reclaim(struct queue *queue, queue_done_fn *fn, void *ctx)
{
    reclaim_from(queue, 0, fn, ctx);
}

/* The beat items of an array of ids and fences; the caller frees the list. */
static struct queue_beat_item *items_of(const redisReply *array)
{
    struct queue_beat_item *items = xcalloc(reply_count(array) / 2, sizeof *items);
    for (size_t i = 0; i < reply_count(array) / 2; i++)
        items[i] =
            (struct queue_beat_item){reply_text(array, 2 * i), (unsigned)reply_number(array, 2 * i + 1)};
    return items;
}

static void on_beat(struct op *op, const redisReply *answer)
{
    const redisReply *lost = reply_array(answer, 0), *cancelled = reply_array(answer, 1);
    struct queue_beat_item *lost_items = items_of(lost), *cancelled_items = items_of(cancelled);
    if (op->fn.beat)
        op->fn.beat(op->ctx, answer ? QUEUE_OK : QUEUE_UNAVAILABLE, lost_items, reply_count(lost) / 2,
                    cancelled_items, reply_count(cancelled) / 2);
    free(lost_items);
    free(cancelled_items);
    if (reply_number(answer, 2))
        queue_claim_again(op->queue);
}

void queue_beat(struct queue *queue, const struct queue_beat_item *items, size_t count, struct span info,
                queue_beat_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("beat"), on_beat, (union answer_fn){.beat = fn}, ctx);
    op_retention(op);
    words_number(&op->words, queue->config.lease_ms);
    words_json(&op->words, info.n ? info : SPAN("{}"));
    for (size_t i = 0; i < count; i++) {
        words_text(&op->words, items[i].id);
        words_number(&op->words, items[i].fence);
    }
}
