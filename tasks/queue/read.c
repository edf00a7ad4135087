/* SPDX-License-Identifier: MIT */
/* The owner's side of the queue: get, list, snapshot, cancel, retry, why, figures, notifications, and the
 * JSON that they answer (docs/protocol.md); see queue.h. The order of a row's words is that of row_of() in
 * tasks/queue/lua/70_read.lua. Loop thread only. */
#include "hub/base/clock.h"
#include "hub/json/json_write.h"
#include "tasks/queue/client_private.h"

enum row { /* the words of a task's row */
           ROW_ID,
           ROW_OWNER,
           ROW_TASK,
           ROW_STATUS,
           ROW_STAGE,
           ROW_PROGRESS,
           ROW_ATTEMPT,
           ROW_CREATED,
           ROW_STARTED,
           ROW_ENDED,
           ROW_UPDATED,
           ROW_SEQ,
           ROW_PRIORITY,
           ROW_RETRY_OF,
           ROW_MAX_ATTEMPTS,
           ROW_RESULT,
           ROW_ERROR_CODE,
           ROW_ERROR,
           ROW_MESSAGE,
           ROW_META,
           ROW_OMITTED,
           ROW_PIECES,
           ROW_PIECES_OMITTED,
           ROW_DROPPED,
};

static void member_seconds(struct buf *to, const char *name, int64_t ms)
{
    json_member(to, name);
    if (ms < 0)
        buf_append_text(to, "null");
    else
        buf_printf(to, "%lld.%03d", (long long)(ms / 1000), (int)(ms % 1000));
}

static int64_t latest(const redisReply *row)
{
    static const enum row times[] = {ROW_CREATED, ROW_STARTED, ROW_UPDATED, ROW_ENDED};
    int64_t latest = 0;
    for (size_t i = 0; i < NELEMS(times); i++)
        if (reply_number(row, times[i]) > latest)
            latest = reply_number(row, times[i]);
    return latest;
}

static void write_outcome(struct buf *to, const redisReply *row, bool completed)
{
    if (reply_span(row, ROW_ERROR_CODE).n) {
        json_member(to, "error");
        buf_append_char(to, '{');
        json_member_text(to, "code", reply_span(row, ROW_ERROR_CODE));
        json_member_raw(to, "message", reply_span(row, ROW_ERROR), "\"\"");
        buf_append_char(to, '}');
    } else {
        json_member_raw(to, "error", SPAN_NONE, "null");
    }
    if (reply_number(row, ROW_OMITTED))
        json_member_bool(to, "result_omitted", true);
    else
        json_member_raw(to, "result", reply_span(row, ROW_RESULT), completed ? "{}" : "null");
}

static void write_pieces(struct buf *to, const redisReply *pieces)
{
    if (reply_count(pieces) == 0)
        return;
    json_member(to, "pieces");
    for (size_t i = 0; i < reply_count(pieces); i++) {
        buf_append_char(to, i ? ',' : '[');
        buf_append_span(to, reply_span(pieces, i));
    }
    buf_append_char(to, ']');
}

/* Names of what was dropped before its time; none is no member. */
static void write_dropped(struct buf *to, struct span letters)
{
    static const struct {
        char letter;
        const char *name;
    } names[] = {{'u', "audio"},  {'a', "args"},    {'r', "result"},
                 {'p', "pieces"}, {'m', "message"}, {'t', "meta"}};
    size_t count = 0;
    for (size_t i = 0; i < NELEMS(names); i++)
        if (letters.n && memchr(letters.p, names[i].letter, letters.n))
            buf_printf(to, "%s\"%s\"", count++ ? "," : ",\"dropped\":[", names[i].name);
    if (count)
        buf_append_char(to, ']');
}

static void write_task(struct buf *to, const redisReply *row)
{
    const char *status = reply_text(row, ROW_STATUS);
    bool active = strcmp(status, "pending") == 0 || strcmp(status, "processing") == 0;
    int64_t started = reply_number(row, ROW_STARTED), ended = reply_number(row, ROW_ENDED);
    buf_append_char(to, '{');
    json_member_text(to, "task_id", reply_span(row, ROW_ID));
    json_member_text(to, "task", reply_span(row, ROW_TASK));
    owner_json_member(to, "user_id", reply_span(row, ROW_OWNER));
    json_member_text(to, "status", reply_span(row, ROW_STATUS));
    json_member_text(to, "stage", reply_span(row, ROW_STAGE));
    json_member_int(to, "progress", reply_number(row, ROW_PROGRESS));
    json_member_raw(to, "message", reply_span(row, ROW_MESSAGE), "null");
    json_member_raw(to, "meta", reply_span(row, ROW_META), "null");
    json_member_int(to, "attempt", reply_number(row, ROW_ATTEMPT));
    json_member_int(to, "max_attempts", reply_number(row, ROW_MAX_ATTEMPTS));
    json_member_int(to, "priority", reply_number(row, ROW_PRIORITY));
    json_member_int(to, "seq", reply_number(row, ROW_SEQ));
    json_member_time(to, "created_at", reply_number(row, ROW_CREATED));
    json_member_time(to, "updated_at", latest(row));
    json_member_time(to, "started_at", started);
    json_member_time(to, "completed_at", ended);
    member_seconds(to, "duration_s", started && ended ? (ended > started ? ended - started : 0) : -1);
    json_member_bool(to, "is_active", active);
    json_member_bool(to, "is_finished", !active);
    if (reply_span(row, ROW_RETRY_OF).n)
        json_member_text(to, "retry_of", reply_span(row, ROW_RETRY_OF));
    else
        json_member_raw(to, "retry_of", SPAN_NONE, "null");
    write_outcome(to, row, strcmp(status, "completed") == 0);
    write_pieces(to, reply_array(row, ROW_PIECES));
    if (reply_number(row, ROW_PIECES_OMITTED) > 0)
        json_member_int(to, "pieces_omitted", reply_number(row, ROW_PIECES_OMITTED));
    write_dropped(to, reply_span(row, ROW_DROPPED));
    buf_append_char(to, '}');
}

static void write_tasks(struct buf *to, const redisReply *rows)
{
    json_member(to, "tasks");
    buf_append_char(to, '[');
    for (size_t i = 0; i < reply_count(rows); i++) {
        if (i)
            buf_append_char(to, ',');
        write_task(to, reply_array(rows, i));
    }
    buf_append_char(to, ']');
}

static void write_totals(struct buf *to, const char *name, const redisReply *totals)
{
    static const char *const words[] = {"pending", "processing", "completed", "failed", "cancelled"};
    json_member(to, name);
    buf_append_char(to, '{');
    for (size_t i = 0; i < NELEMS(words); i++)
        json_member_int(to, words[i], reply_number(totals, i));
    buf_append_char(to, '}');
}

/* {code, row} */
static void write_one(struct buf *to, const redisReply *answer)
{
    write_task(to, reply_array(answer, 1));
}

/* {code, totals, next cursor, rows, rows looked at} */
static void write_list(struct buf *to, const redisReply *answer)
{
    buf_append_char(to, '{');
    write_tasks(to, reply_array(answer, 3));
    if (reply_span(answer, 2).n)
        json_member_text(to, "next_cursor", reply_span(answer, 2));
    write_totals(to, "totals", reply_array(answer, 1));
    buf_append_char(to, '}');
}

/* {code, rows, rows looked at} */
static void write_snapshot(struct buf *to, const redisReply *answer)
{
    buf_append_char(to, '{');
    write_tasks(to, reply_array(answer, 1));
    buf_append_char(to, '}');
}

/* ---- figures ---------------------------------------------------------------------------------------- */

static struct span field_of(const redisReply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < reply_count(fields); i += 2)
        if (strcmp(reply_text(fields, i), name) == 0)
            return reply_span(fields, i + 1);
    return SPAN("0");
}

static int64_t count_of(const redisReply *fields, const char *name)
{
    return strtoll(field_of(fields, name).p, NULL, 10);
}

static int64_t mean_ms(int64_t sum_ms, int64_t count)
{
    return count > 0 ? sum_ms / count : -1;
}

static void write_day(struct buf *to, const redisReply *day, int64_t *sum_ms, int64_t *count)
{
    const redisReply *fields = reply_array(day, 1);
    char date[CLOCK_TEXT_SIZE];
    clock_format(reply_number(day, 0), date);
    int64_t ran = count_of(fields, "ran"), ms = count_of(fields, "run_ms");
    buf_append_char(to, '{');
    json_member_text(to, "day", (struct span){date, 10});
    json_member_int(to, "completed", count_of(fields, "done:completed"));
    json_member_int(to, "failed", count_of(fields, "done:failed"));
    json_member_int(to, "cancelled", count_of(fields, "done:cancelled"));
    member_seconds(to, "mean_duration_s", mean_ms(ms, ran));
    buf_append_char(to, '}');
    *sum_ms += ms;
    *count += ran;
}

static void write_queues(struct buf *to, const redisReply *queues)
{
    json_member(to, "queues");
    buf_append_char(to, '{');
    for (size_t i = 0; i + 1 < reply_count(queues); i += 2)
        json_member_int(to, reply_text(queues, i), reply_number(queues, i + 1));
    buf_append_char(to, '}');
}

/* {code, totals, heavy active, queues, delayed, leased, workers, hubs, failed in the last hour, days} */
static void write_stats(struct buf *to, const redisReply *answer)
{
    const redisReply *days = reply_array(answer, 9);
    int64_t sum_ms = 0, count = 0;
    buf_append_char(to, '{');
    write_totals(to, "tasks", reply_array(answer, 1));
    json_member_int(to, "active", reply_number(answer, 2));
    write_queues(to, reply_array(answer, 3));
    json_member_int(to, "delayed", reply_number(answer, 4));
    json_member_int(to, "leased", reply_number(answer, 5));
    json_member_int(to, "workers", reply_number(answer, 6));
    json_member_int(to, "hubs", reply_number(answer, 7));
    json_member_int(to, "failed_last_hour", reply_number(answer, 8));
    json_member(to, "days");
    buf_append_char(to, '[');
    for (size_t i = 0; i < reply_count(days); i++) {
        if (i)
            buf_append_char(to, ',');
        write_day(to, reply_array(days, i), &sum_ms, &count);
    }
    buf_append_char(to, ']');
    member_seconds(to, "mean_duration_s", mean_ms(sum_ms, count));
    buf_append_char(to, '}');
}

/* {code, per process: {name, time of its last beat, alive, its own info}} */
static void write_workers(struct buf *to, const redisReply *answer)
{
    const redisReply *processes = reply_array(answer, 1);
    buf_append_text(to, "{\"workers\":[");
    for (size_t i = 0; i < reply_count(processes); i++) {
        const redisReply *row = reply_array(processes, i);
        struct span name = reply_span(row, 0);
        bool hub = name.n > 2 && name.p[0] == 'h';
        buf_append_text(to, i ? ",{" : "{");
        json_member_text(to, "name", name.n > 2 ? (struct span){name.p + 2, name.n - 2} : name);
        json_member_text(to, "kind", hub ? SPAN("hub") : SPAN("worker"));
        json_member_bool(to, "alive", reply_number(row, 2) != 0);
        json_member_time(to, "seen_at", reply_number(row, 1));
        json_member_raw(to, "info", reply_span(row, 3), "{}");
        buf_append_char(to, '}');
    }
    buf_append_text(to, "]}");
}

/* ---- why --------------------------------------------------------------------------------------------- */

enum why { /* the words of why()'s answer */
           WHY_STATUS = 1,
           WHY_STAGE,
           WHY_PLACE,
           WHY_QUEUE,
           WHY_POSITION,
           WHY_READY,
           WHY_DUE,
           WHY_WORKERS,
           WHY_HOLDER,
           WHY_DEADLINE,
           WHY_ATTEMPT,
           WHY_MAX,
           WHY_STARTED,
           WHY_CANCEL,
           WHY_ERROR,
           WHY_ID,
};

/* The holder's name without the prefix of its kind ("w:"). */
static struct span holder_of(const redisReply *answer)
{
    struct span holder = reply_span(answer, WHY_HOLDER);
    return holder.n > 2 ? (struct span){holder.p + 2, holder.n - 2} : SPAN("");
}

/* Writes one line for people. */
static void explain(struct buf *to, const redisReply *answer)
{
    const char *place = reply_text(answer, WHY_PLACE), *queue = reply_text(answer, WHY_QUEUE);
    struct span holder = holder_of(answer);
    char due[CLOCK_TEXT_SIZE];
    clock_format(reply_number(answer, WHY_DUE), due);
    if (strcmp(place, "ready") == 0 && reply_number(answer, WHY_WORKERS) == 0 && strcmp(queue, "light") != 0)
        buf_printf(to, "No worker is alive; %lld tasks stand before it in the queue %s.",
                   (long long)reply_number(answer, WHY_POSITION), queue);
    else if (strcmp(place, "ready") == 0)
        buf_printf(to, "It waits in the queue %s; %lld of %lld tasks stand before it.", queue,
                   (long long)reply_number(answer, WHY_POSITION), (long long)reply_number(answer, WHY_READY));
    else if (strcmp(place, "waiting") == 0)
        buf_append_text(to, "It waits for other tasks.");
    else if (strcmp(place, "delayed") == 0)
        buf_printf(to, "%s until %s.",
                   strcmp(reply_text(answer, WHY_STAGE), "retrying") == 0 ? "It waits for another attempt"
                                                                          : "It is delayed",
                   due);
    else if (strcmp(place, "leased") == 0 && reply_number(answer, WHY_CANCEL))
        buf_printf(to, "It was asked to stop; %.*s has not confirmed yet.",
                   SPAN_ARG(holder.n ? holder : SPAN("its worker")));
    else if (strcmp(place, "leased") == 0)
        buf_printf(to, "%s%s%.*s.",
                   strcmp(reply_text(answer, WHY_STATUS), "processing") == 0 ? "It runs"
                                                                             : "It is about to begin",
                   holder.n ? " on " : "", SPAN_ARG(holder));
    else if (reply_span(answer, WHY_ERROR).n)
        buf_printf(to, "It has failed: %s.", reply_text(answer, WHY_ERROR));
    else
        buf_printf(to, "It has ended: %s.", reply_text(answer, WHY_STATUS));
}

static void write_why(struct buf *to, const redisReply *answer)
{
    struct buf line CLEANUP(buf_free) = BUF_INIT;
    struct span holder = holder_of(answer);
    explain(&line, answer);
    buf_append_char(to, '{');
    json_member_text(to, "task_id", reply_span(answer, WHY_ID));
    json_member_text(to, "status", reply_span(answer, WHY_STATUS));
    json_member_text(to, "stage", reply_span(answer, WHY_STAGE));
    json_member_text(to, "why", buf_span(&line));
    json_member(to, "facts");
    buf_append_char(to, '{');
    json_member_text(to, "place", reply_span(answer, WHY_PLACE));
    json_member_text(to, "queue", reply_span(answer, WHY_QUEUE));
    if (reply_number(answer, WHY_POSITION) >= 0)
        json_member_int(to, "position", reply_number(answer, WHY_POSITION));
    json_member_int(to, "ready", reply_number(answer, WHY_READY));
    if (strcmp(reply_text(answer, WHY_PLACE), "delayed") == 0)
        json_member_time(to, "due_at", reply_number(answer, WHY_DUE));
    json_member_int(to, "workers", reply_number(answer, WHY_WORKERS));
    if (holder.n)
        json_member_text(to, "worker", holder);
    if (reply_number(answer, WHY_DEADLINE))
        json_member_time(to, "lease_until", reply_number(answer, WHY_DEADLINE));
    json_member_int(to, "attempt", reply_number(answer, WHY_ATTEMPT));
    json_member_int(to, "max_attempts", reply_number(answer, WHY_MAX));
    buf_append_text(to, "}}");
}

/* ---- calls -------------------------------------------------------------------------------------------- */

#define SNAPSHOT_TASKS "200"
#define OPTIONAL_BYTES "98304" /* results, metas, messages and pieces of a list, which must fit a frame */
#define SCRATCH_KEPT (1u << 20)

/* The cost of reads, in rows. */
#define WEIGHT_ONE 10 /* at most, of a task with its result */
#define WEIGHT_CALL 4 /* on top of the rows it looks at */
#define WEIGHT_LIST 200
#define WEIGHT_BYTES 1024 /* this many bytes of the answer count as one more row */

/* Answers with the JSON that op->write makes of the reply. */
static void on_read(struct op *op, const redisReply *reply)
{
    struct queue_answer answer = {.code = reply_code(reply, 0)};
    struct buf *json = &op->queue->json;
    buf_clear(json);
    if (answer.code == QUEUE_OK)
        op->write(json, reply);
    answer.json = buf_span(json);
    if (answer.code == QUEUE_OK)
        op->weighed = WEIGHT_CALL + json->len / WEIGHT_BYTES +
                      (op->cost_word ? (size_t)reply_number(reply, op->cost_word) : 0);
    op->fn.answer(op->ctx, &answer);
    if (json->cap > SCRATCH_KEPT)
        buf_free(json);
}

static struct op *read_op(struct queue *queue, const char *function,
                          void (*write)(struct buf *to, const redisReply *answer), queue_answer_fn *fn,
                          void *ctx)
{
    struct op *op = op_new(queue, function, on_read, (union answer_fn){.answer = fn}, ctx);
    op->write = write;
    return op;
}

static void words_caller(struct words *words, const char *id, const char *owner, bool any)
{
    words_text(words, id);
    words_text(words, owner);
    words_text(words, any ? "1" : "0");
}

void queue_get(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx)
{
    struct op *op = read_op(queue, FUNCTION("get"), write_one, fn, ctx);
    op_in_turn(op, span_of(who->owner), WEIGHT_ONE);
    words_caller(&op->words, id, who->owner, who->any_read);
}

void queue_why(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
               void *ctx)
{
    struct op *op = read_op(queue, FUNCTION("why"), write_why, fn, ctx);
    op_in_turn(op, span_of(who->owner), WEIGHT_ONE);
    words_caller(&op->words, id, who->owner, who->any_read);
    words_text(&op->words, who->sees_workers ? "1" : "0");
}

void queue_list(struct queue *queue, const struct queue_filter *filter, queue_answer_fn *fn, void *ctx)
{
    struct op *op = read_op(queue, FUNCTION("list"), write_list, fn, ctx);
    op->cost_word = 4;
    op_in_turn(op, span_of(filter->asker), filter->task ? WEIGHT_LIST : filter->limit + WEIGHT_ONE);
    words_text(&op->words, filter->owner);
    words_text(&op->words, filter->status);
    words_text(&op->words, filter->task);
    words_signed(&op->words, filter->since_ms);
    words_signed(&op->words, filter->until_ms);
    words_text(&op->words, filter->cursor);
    words_number(&op->words, filter->limit);
    words_text(&op->words, OPTIONAL_BYTES);
}

void queue_snapshot(struct queue *queue, const char *owner, queue_answer_fn *fn, void *ctx)
{
    struct op *op = read_op(queue, FUNCTION("snapshot"), write_snapshot, fn, ctx);
    op->cost_word = 2;
    op_in_turn(op, span_of(owner), WEIGHT_LIST);
    words_text(&op->words, owner);
    words_text(&op->words, SNAPSHOT_TASKS);
    words_text(&op->words, OPTIONAL_BYTES);
}

void queue_stats(struct queue *queue, queue_answer_fn *fn, void *ctx)
{
    read_op(queue, FUNCTION("stats"), write_stats, fn, ctx);
}

void queue_workers(struct queue *queue, queue_answer_fn *fn, void *ctx)
{
    read_op(queue, FUNCTION("workers"), write_workers, fn, ctx);
}

/* {code, status, stage, seq, id, time, ms to try again} */
static void on_changed(struct op *op, const redisReply *reply)
{
    struct queue_answer answer = {.code = reply_code(reply, 0),
                                  .seq = (uint64_t)reply_number(reply, 3),
                                  .at_ms = reply_number(reply, 5),
                                  .retry_ms = (uint64_t)reply_number(reply, 6),
                                  .used = (uint64_t)reply_number(reply, 7),
                                  .most = (uint64_t)reply_number(reply, 8)};
    snprintf(answer.status, sizeof answer.status, "%s", reply_text(reply, 1));
    snprintf(answer.stage, sizeof answer.stage, "%s", reply_text(reply, 2));
    snprintf(answer.id, sizeof answer.id, "%s", reply_text(reply, 4));
    op->fn.answer(op->ctx, &answer);
}

void queue_cancel(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,
                  void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("cancel"), on_changed, (union answer_fn){.answer = fn}, ctx);
    op_confirmed(op);
    op_retention(op);
    words_caller(&op->words, id, who->owner, who->any_write);
}

/* Adds the effect and what its key stands for; both empty without a key. */
static void add_retry_key(struct words *words, const struct queue_retry *retry)
{
    char of[ID_SIZE + 2];
    unsigned char key[KEY_BYTES];
    int n = snprintf(of, sizeof of, "\"%s\"", retry->id);
    words_text(words, retry->effect_id ? retry->effect_id : "");
    if (retry->effect_id)
        key_bytes(key, retry->effect_id, retry->new_id, "task.retry", (struct span){of, (size_t)n});
    words_add(words, (struct span){(char *)key, retry->effect_id ? sizeof key : 0});
}

void queue_retry(struct queue *queue, const struct queue_caller *who, const struct queue_retry *retry,
                 queue_answer_fn *fn, void *ctx)
{
    struct op *op = op_new(queue, FUNCTION("retry"), on_changed, (union answer_fn){.answer = fn}, ctx);
    op_confirmed(op);
    words_number(&op->words, queue->config.user_tasks);
    words_number(&op->words, queue->config.global_tasks);
    words_number(&op->words, queue->config.user_light);
    words_caller(&op->words, retry->id, who->owner, who->any_write);
    words_text(&op->words, retry->new_id);
    words_text(&op->words, retry->own_arg ? retry->own_arg : "");
    add_retry_key(&op->words, retry);
}
