/* What runners write about their attempts: starts, reports, ends, releases; see queue.h. Many per call, and
 * of a task one item per call: what it reports gathers in the item of its start, and goes with its end if
 * that comes before the call is made. The lines of the feed are made here. Loop thread only. Decides nothing:
 * the function refuses what comes from an attempt that is over. */
#include "hub/base/clock.h"
#include "tasks/queue/queue_private.h"

#define MESSAGE_MAX 512
#define ERROR_MAX 4096
#define LINES_MAX 65536 /* of one task */

/* ---- reports ---------------------------------------------------------------------------------------- */

static size_t report_size(const struct report *report)
{
    return report->message.len + report->meta.len + report->lines.len;
}

static void add_number(struct buf *to, uint64_t number, char end)
{
    buf_append_u64(to, number);
    buf_append_char(to, end);
}

/* The two forms of tasks/queue/queue_line.h: the first line names the task, others continue it. Without
 * printf(), which a library that registers conversions of its own makes slow. */
static void begin_line(struct buf *lines, const struct queue_update *update)
{
    const struct queue_reported *now = update->reported;
    bool first = lines->len == 0;
    bool staged = now->stage[0] && strcmp(now->stage, "started") != 0;
    buf_append_text(lines, first ? "=0 " : "\n~");
    add_number(lines, now->rev, ' ');
    buf_append_text(lines, update->kind == QUEUE_PROGRESS ? "P " : "p ");
    if (first) {
        add_number(lines, update->attempt, ' ');
        buf_append_text(lines, update->id);
        buf_append_char(lines, ' ');
    }
    add_number(lines, (uint64_t)clock_wall_ms(), ' ');
    buf_append_u64(lines, (uint64_t)now->percent);
    if (first) {
        buf_append_char(lines, ' ');
        buf_append_text(lines, update->task);
    }
    if (staged) {
        buf_append_char(lines, ' ');
        buf_append_text(lines, now->stage);
    }
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
    begin_line(&report->lines, update);
    if (update->message.p) {
        buf_clear(&report->message);
        text_quoted(&report->message, update->message, MESSAGE_MAX);
        buf_append_text(&report->lines, "\tm");
        buf_append_span(&report->lines, buf_span(&report->message));
    }
    if (update->meta.n) {
        buf_clear(&report->meta);
        text_json(&report->meta, update->meta);
        buf_append_text(&report->lines, "\tt");
        buf_append_span(&report->lines, buf_span(&report->meta));
    }
}

static void add_partial(struct buf *lines, const struct queue_update *update)
{
    begin_line(lines, update);
    if (update->meta.n) {
        buf_append_text(lines, "\tt");
        text_json(lines, update->meta);
    }
}

/* ---- items ------------------------------------------------------------------------------------------ */

static void add_listener(struct listener *first, queue_done_fn *fn, void *ctx)
{
    struct listener **end = &first->next;
    if (fn == NULL)
        return;
    if (first->fn == NULL) {
        *first = (struct listener){.fn = fn, .ctx = ctx};
        return;
    }
    while (*end)
        end = &(*end)->next;
    *end = xmalloc(sizeof **end);
    **end = (struct listener){.fn = fn, .ctx = ctx};
}

static void on_codes(struct batch *batch, const redisReply *answer)
{
    size_t at = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        if (item->skipped)
            continue;
        enum queue_code code = reply_code(answer, at++);
        for (const struct listener *listener = &item->listener; listener && listener->fn;
             listener = listener->next)
            listener->fn(listener->ctx, code);
        if (item->fn.done)
            item->fn.done(item->ctx, code);
    }
}

static const struct stage_call report_call = {STAGE_REPORT, FUNCTION("report"), numbers_retention, on_codes};
static const struct stage_call update_call = {STAGE_UPDATE, FUNCTION("update"), NULL, on_codes};
static const struct stage_call end_call = {STAGE_END, FUNCTION("report"), numbers_retention, on_codes};
static const struct stage_call release_call = {STAGE_RELEASE, FUNCTION("release"), NULL, on_codes};

static struct item *attempt_item(struct queue *queue, const struct stage_call *call, const char *id,
                                 unsigned attempt, struct batch **ret_batch)
{
    struct item *item = item_new(queue, call, id, ret_batch);
    item->attempt = attempt;
    words_text(&(*ret_batch)->words, id);
    words_number(&(*ret_batch)->words, attempt);
    return item;
}

/* The item where what this attempt reports gathers. */
static struct item *report_item(struct queue *queue, const char *id, unsigned attempt,
                                struct batch **ret_batch)
{
    struct item *item = item_find(queue, STAGE_REPORT, id);
    if (item && item->attempt == attempt) {
        *ret_batch = queue->open[STAGE_REPORT];
        return item;
    }
    if (item)
        batch_seal(queue, STAGE_REPORT); /* a task stands in a call once */
    item = attempt_item(queue, &report_call, id, attempt, ret_batch);
    item_done(*ret_batch);
    return item;
}

/* `end` is the verb of the end, if there is one. */
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

void queue_started(struct queue *queue, const char *id, unsigned attempt, queue_done_fn *fn, void *ctx)
{
    struct batch *batch;
    struct item *item = report_item(queue, id, attempt, &batch);
    add_listener(&item->listener, fn, ctx);
    item->start = true;
    set_verbs(item, "");
}

void queue_release(struct queue *queue, const char *id, unsigned attempt, queue_done_fn *fn, void *ctx)
{
    struct batch *batch;
    struct item *item = attempt_item(queue, &release_call, id, attempt, &batch);
    item->fn.done = fn;
    item->ctx = ctx;
    item_done(batch);
}

/* Adds a line to what the attempt reported. Older lines give way when there are too many: newer ones say
 * more. */
static void report(struct queue *queue, const struct queue_update *update, queue_done_fn *fn, void *ctx)
{
    struct batch *batch;
    struct item *item = report_item(queue, update->id, update->attempt, &batch);
    if (item->report == NULL)
        item->report = report_new(queue);
    struct report *report = item->report;
    add_listener(&item->listener, fn, ctx);
    set_verbs(item, "");
    batch->reported -= report_size(report);
    if (report->lines.len > LINES_MAX || batch_is_large(batch))
        buf_clear(&report->lines);
    update->reported->rev += 2; /* the odd ones are the library's */
    if (update->kind == QUEUE_PROGRESS)
        add_progress(report, update);
    else
        add_partial(&report->lines, update);
    report->rev = update->reported->rev;
    report->percent = update->reported->percent;
    batch->reported += report_size(report);
}

/* A partial result behind a final piece of the same turn stays behind it. */
static void update_partial(struct queue *queue, const struct queue_update *update, queue_done_fn *fn,
                           void *ctx)
{
    struct batch *batch;
    struct buf line CLEANUP(buf_free) = BUF_INIT;
    struct item *item = attempt_item(queue, &update_call, update->id, update->attempt, &batch);
    item->fn.done = fn;
    item->ctx = ctx;
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
        update_partial(queue, update, fn, ctx);
        return;
    }
    if (update->kind == QUEUE_PROGRESS || update->kind == QUEUE_PARTIAL) {
        report(queue, update, fn, ctx);
        return;
    }
    struct item *item = attempt_item(queue, &update_call, update->id, update->attempt, &batch);
    item->fn.done = fn;
    item->ctx = ctx;
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

/* What the attempt reported goes with its end, unless logged pieces stand between them. */
static void take_report(struct queue *queue, const struct queue_end *end, struct batch *batch,
                        struct item *item)
{
    struct item *from = item_find(queue, STAGE_REPORT, end->id);
    if (from == NULL || from->attempt != end->attempt || !list_empty(&queue->sealed[STAGE_UPDATE]) ||
        item_find(queue, STAGE_UPDATE, end->id))
        return;
    if (from->report) {
        batch->reported += report_size(from->report);
        queue->open[STAGE_REPORT]->reported -= report_size(from->report);
    }
    item->start = from->start;
    item->report = from->report;
    item->listener = from->listener;
    from->skipped = true;
    from->report = NULL;
    from->listener = (struct listener){0};
}

void queue_end(struct queue *queue, const struct queue_end *end, queue_done_fn *fn, void *ctx)
{
    static const char *const kinds[] = {
        [QUEUE_COMPLETED] = "C", [QUEUE_FAILED] = "X", [QUEUE_CANCELLED] = "K", [QUEUE_DIED] = "D"};
    struct batch *batch;
    if (item_find(queue, STAGE_END, end->id))
        batch_seal(queue, STAGE_END); /* a task stands in a call once */
    struct item *item = attempt_item(queue, &end_call, end->id, end->attempt, &batch);
    item->fn.done = fn;
    item->ctx = ctx;
    take_report(queue, end, batch, item);
    set_verbs(item, end->kind == QUEUE_FAILED && end->retry ? "Xr" : kinds[end->kind]);
    if (end->kind == QUEUE_COMPLETED) {
        words_json(&batch->words, end->result);
        words_text(&batch->words, "");
    } else {
        struct span code = end->error_code.n ? end->error_code : SPAN("internal");
        words_quoted(&batch->words, end->error.p ? end->error : SPAN(""), ERROR_MAX);
        words_word(&batch->words, code.p, code.n);
    }
    item_done(batch);
}
