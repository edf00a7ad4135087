/* The runner's side of the queue: leases, reclaiming, beats; see queue.h. What it writes about single
 * attempts is in queue_report.c. Loop thread only. */
#include "tasks/queue_private.h"

/* ---- leases ------------------------------------------------------------------------------------------ */

#define LEASED_WORDS 3 /* per task, behind the time of the next delayed one: id, record, long arguments */

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

/* Takes a record apart (tasks/queue/40_record.lua); the members point into it. */
static struct queue_leased parse_leased(const char *id, char *record, struct span args)
{
    char *fixed = cut(&record, '\n'), *flags;
    struct queue_leased task = {.id = id, .args = args};
    task.owner = cut(&fixed, ' ');
    task.task = cut(&fixed, ' ');
    flags = cut(&fixed, ' ');
    task.stream = strchr(flags, 's') != NULL;
    for (int skipped = 0; skipped < 3; skipped++) /* created, queue, priority */
        cut(&fixed, ' ');
    task.max_attempts = cut_number(&fixed);
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
    size_t count = reply_count(answer) / LEASED_WORDS;
    struct queue_leased *tasks = xcalloc(count, sizeof *tasks);
    for (size_t i = 0; i < count; i++) {
        size_t at = 1 + i * LEASED_WORDS;
        tasks[i] =
            parse_leased(reply_text(answer, at), reply_record(answer, at + 1), reply_span(answer, at + 2));
    }
    op->fn.leased(op->ctx, answer ? QUEUE_OK : QUEUE_UNAVAILABLE, tasks, count,
                  (uint64_t)reply_number(answer, 0));
    free(tasks);
}

void queue_lease(struct queue *queue, const char *name, unsigned count, queue_leased_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, "th1_lease", on_leased);
    op->fn.leased = fn;
    op->ctx = ctx;
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

/* One slice; the first `skip` leases are those of others. */
static void reclaim_from(struct queue *queue, int64_t skip, queue_done_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, "th1_reclaim", on_reclaimed);
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
    struct op *op = op_new(queue, "th1_beat", on_beat);
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
