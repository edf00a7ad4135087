/* The runner's side of the queue: leases, reclaiming, beats; see queue.h. What it writes about single
 * attempts is in queue_report.c. Loop thread only. */
#include "tasks/queue/queue_feed_private.h"

/* ---- leases ------------------------------------------------------------------------------------------ */

#define LEASED_HEAD 2  /* time of the next delayed task, limit of the demand */
#define LEASED_WORDS 3 /* per task, behind them: id, record, long arguments */
#define RECORD_LINES 4
#define HANDED_MAX 512 /* more than a call submits */

/* Cuts off what stands before the next `end`, or all that is left; a NUL takes its place. */
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

/* Takes a record apart (tasks/queue/lua/40_record.lua); the members point into it. */
static struct queue_leased parse_leased(const char *id, char *record, struct span args)
{
    char *fixed = cut(&record, '\n');
    struct queue_leased task = {.id = id, .args = args};
    task.owner = cut(&fixed, ' ');
    task.task = cut(&fixed, ' ');
    char *small = cut(&record, '\n');
    if (args.n == 0)
        task.args = *small ? span_of(small) : SPAN("{}");
    cut(&record, ' '); /* status */
    task.attempt = cut_number(&record);
    for (int skipped = 0; skipped < 3; skipped++) /* holder, progress, seq */
        cut(&record, ' ');
    task.rev = cut_number(&record);
    return task;
}

/* The text, which nobody else reads; "" if there is none. */
static char *reply_record(const redisReply *answer, size_t i)
{
    static char none[1];
    return i < reply_count(answer) && answer->element[i]->type == REDIS_REPLY_STRING ? answer->element[i]->str
                                                                                     : none;
}

static void on_leased(struct op *op, const redisReply *answer)
{
    size_t words = reply_count(answer);
    size_t count = words > LEASED_HEAD ? (words - LEASED_HEAD) / LEASED_WORDS : 0;
    struct queue_leased *tasks = xcalloc(count, sizeof *tasks);
    struct queue_lease_rest rest = {(uint64_t)reply_number(answer, 0), (uint64_t)reply_number(answer, 1)};
    for (size_t i = 0; i < count; i++) {
        size_t at = LEASED_HEAD + i * LEASED_WORDS;
        tasks[i] =
            parse_leased(reply_text(answer, at), reply_record(answer, at + 1), reply_span(answer, at + 2));
    }
    op->fn.leased(op->ctx, answer ? QUEUE_OK : QUEUE_UNAVAILABLE, tasks, count, rest);
    free(tasks);
}

void queue_lease(struct queue *queue, const char *name, unsigned count, struct queue_demand demand,
                 queue_leased_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("lease"), on_leased);
    op->fn.leased = fn;
    op->ctx = ctx;
    op_retention(op);
    words_text(&op->words, name);
    words_number(&op->words, count);
    words_number(&op->words, queue->config.lease_ms);
    if (demand.connection)
        words_number(&op->words, demand.connection);
    else
        words_text(&op->words, "");
    words_number(&op->words, demand.received);
}

/* The next lines as one word. */
static char *cut_lines(char **rest, unsigned lines)
{
    char *word = *rest;
    for (unsigned cuts = 0; cuts < lines; cuts++) {
        char *line = cut(rest, '\n');
        if (cuts + 1 < lines && *rest > line)
            (*rest)[-1] = '\n';
    }
    return word;
}

/* "lease QUEUE HOLDER", then per task its id, its long arguments and its record. */
void queue_read_handed(struct queue *queue, char *message, const struct queue_feed_hooks *hooks)
{
    struct queue_leased tasks[HANDED_MAX];
    size_t count = 0;
    char *head = cut(&message, '\n');
    cut(&head, ' ');
    const char *name = cut(&head, ' ');
    if (strcmp(head, queue->holder) != 0) /* an earlier process of this name */
        return;
    while (*message && count < HANDED_MAX) {
        const char *id = cut(&message, '\n');
        struct span args = span_of(cut(&message, '\n'));
        tasks[count++] = parse_leased(id, cut_lines(&message, RECORD_LINES), args);
    }
    hooks->on_handed(hooks->ctx, name, tasks, count);
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

/* One slice; the first `skip` leases are those of others. */
static void reclaim_from(struct queue *queue, int64_t skip, queue_done_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("reclaim"), on_reclaimed);
    op->fn.done = fn;
    op->ctx = ctx;
    op_retention(op);
    words_signed(&op->words, skip);
}

void queue_reclaim(struct queue *queue, queue_done_fn *fn, void *ctx)
{
    reclaim_from(queue, 0, fn, ctx);
}

/* The ids of an array of texts; free() the list. */
static const char **texts_of(const redisReply *array)
{
    const char **texts = xcalloc(reply_count(array), sizeof *texts);
    for (size_t i = 0; i < reply_count(array); i++)
        texts[i] = reply_text(array, i);
    return texts;
}

static void on_beat(struct op *op, const redisReply *answer)
{
    const redisReply *lost = reply_array(answer, 0), *cancelled = reply_array(answer, 1);
    const char **lost_ids = texts_of(lost), **cancelled_ids = texts_of(cancelled);
    if (op->fn.beat)
        op->fn.beat(op->ctx, answer ? QUEUE_OK : QUEUE_UNAVAILABLE, lost_ids, reply_count(lost),
                    cancelled_ids, reply_count(cancelled));
    free(lost_ids);
    free(cancelled_ids);
}

void queue_beat(struct queue *queue, const struct queue_beat_item *items, size_t count, struct span info,
                queue_beat_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("beat"), on_beat);
    op->fn.beat = fn;
    op->ctx = ctx;
    op_retention(op);
    words_number(&op->words, queue->config.lease_ms);
    words_json(&op->words, info.n ? info : SPAN("{}"));
    for (size_t i = 0; i < count; i++) {
        words_text(&op->words, items[i].id);
        words_number(&op->words, items[i].attempt);
    }
}
