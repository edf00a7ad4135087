/* SPDX-License-Identifier: MIT */
/* The client of the task queue: key and channel prefixes, arguments, batches that gather during a turn,
 * one call per kind at its end, answers; see queue.h, shard.h and client_private.h. Keeps one spent batch
 * per stage, so that a turn allocates nothing once the queue has been busy. Loop thread only. Never
 * blocks, never builds a whole key, knows no transition. */
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "tasks/queue/client_private.h"
#include "tasks/queue/shard.h"

#define FIXED_WORDS 11 /* FCALL, function, 1, prefix, origin, incarnation, and the stage's own */
#define BATCH_ITEMS 256
#define BATCH_BYTES (1u << 20)
#define GATHERED_WORDS 64 /* of an op: keeps its call within a fraction of a millisecond */
/* Rows that reads may look at: a page of 200 costs Redis about 3 ms, during which everybody waits. */
#define READ_OWNER_WEIGHT 200 /* at a time, per owner */
#define READ_WEIGHT 400       /* at a time, all owners together */
#define READ_BURST_S 2
#define SPARE_BYTES 65536 /* buffers of a spent batch above this size are freed */
#define SERVER_DIGITS 8   /* of a server: who it is; behind them, what it began with */

/* ---- shards (shard.h) ------------------------------------------------------------------------ */

_Static_assert(SHARDS == 1u << ID_TAIL_BITS, "a task's id holds its shard");

/* CRC-16/XMODEM: polynomial 0x1021, from 0, not reflected; four bits at a time. */
static unsigned crc16(struct span bytes)
{
    static const unsigned short table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                             0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    unsigned crc = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        unsigned byte = (unsigned char)bytes.p[i];
        crc = (crc << 4 ^ table[(crc >> 12 ^ byte >> 4) & 15]) & 0xffff;
        crc = (crc << 4 ^ table[(crc >> 12 ^ byte) & 15]) & 0xffff;
    }
    return crc;
}

unsigned shard_of(struct span owner)
{
    char user_id[USER_ID_MAX + 1];
    if (owner.n && memchr(owner.p, '%', owner.n)) {
        owner_decode(owner, user_id);
        owner = span_of(user_id);
    }
    return crc16(owner) % SHARDS;
}

void shard_task_id(char id[static ID_SIZE], struct span owner)
{
    id_new_tail(id, shard_of(owner));
}

struct span shard_channel(char to[static CHANNEL_MAX], const char *kind, const char *name)
{
    snprintf(to, CHANNEL_MAX, SHARD_PREFIX "%s%s", kind, name);
    return span_of(to);
}

/* ---- arguments ---------------------------------------------------------------------------- */

static void words_free(struct words *words)
{
    buf_free(&words->bytes);
    free(words->ends);
    *words = (struct words){0};
}

struct span words_at(const struct words *words, size_t i)
{
    size_t start = i ? words->ends[i - 1] : 0;
    return (struct span){words->bytes.data ? words->bytes.data + start : "", words->ends[i] - start};
}

void words_cut(struct words *words, size_t from)
{
    words->bytes.len = from ? words->ends[from - 1] : 0;
    words->count = from;
}

/* Ends the word whose text was just appended to `bytes`. */
static void words_end(struct words *words)
{
    if (words->count == words->cap) {
        words->cap = words->cap ? words->cap * 2 : 16;
        words->ends = xrealloc(words->ends, words->cap * sizeof *words->ends);
    }
    words->ends[words->count++] = words->bytes.len;
}

void words_add(struct words *words, struct span text)
{
    buf_append_span(&words->bytes, text);
    words_end(words);
}

void words_text(struct words *words, const char *text)
{
    words_add(words, span_of(text));
}

void words_number(struct words *words, uint64_t number)
{
    buf_append_u64(&words->bytes, number);
    words_end(words);
}

void words_signed(struct words *words, int64_t number)
{
    buf_append_i64(&words->bytes, number);
    words_end(words);
}

void words_quoted(struct words *words, struct span text, size_t max_bytes)
{
    text_quoted(&words->bytes, text, max_bytes);
    words_end(words);
}

void words_json(struct words *words, struct span json)
{
    text_json(&words->bytes, json);
    words_end(words);
}

void words_word(struct words *words, const char *text, size_t size)
{
    char word[WORD_SIZE];
    buf_append(&words->bytes, word, text_word(word, text, size));
    words_end(words);
}

/* ---- batches ------------------------------------------------------------------------------ */

/* Stages that item_find() looks into. */
static const bool indexed[STAGES] = {[STAGE_REPORT] = true, [STAGE_UPDATE] = true, [STAGE_END] = true};

/* Stages of items that may have an idempotency key. */
static const bool keyed[STAGES] = {[STAGE_SUBMIT] = true, [STAGE_ONCE] = true};

_Static_assert(BATCH_PLACES >= 2 * BATCH_ITEMS, "the index is never more than half full");
_Static_assert((BATCH_PLACES & (BATCH_PLACES - 1)) == 0, "a power of two");

/* ---- the index ------------------------------------------------------------------------------------ */

/* The place of this id, or the free one where it belongs. Hashes the end of the id, which is its random
 * part. */
static uint16_t *place_of(struct batch *batch, const char *id)
{
    uint64_t key = 0;
    size_t n = strlen(id), tail = n < sizeof key ? n : sizeof key;
    memcpy(&key, id + n - tail, tail);
    for (size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> 32);; i++) {
        uint16_t *place = &batch->places[i & (BATCH_PLACES - 1)];
        if (*place == 0 || strcmp(batch->items[*place - 1].id, id) == 0)
            return place;
    }
}

struct item *item_find(struct queue *queue, enum stage stage, const char *id)
{
    struct batch *batch = queue->open[stage];
    uint16_t place = batch ? *place_of(batch, id) : 0;
    return place && !batch->items[place - 1].skipped ? &batch->items[place - 1] : NULL;
}

/* ---- reports ---------------------------------------------------------------------------------------- */

static void report_free(struct report *report)
{
    buf_free(&report->message);
    buf_free(&report->meta);
    buf_free(&report->lines);
    buf_free(&report->numbers);
    free(report);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void clear_items(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].report)
            report_free(batch->items[i].report);
    batch->count = batch->beside = 0;
}

static void batch_free(struct batch *batch)
{
    clear_items(batch);
    words_free(&batch->words);
    buf_free(&batch->keys);
    free(batch->items);
    free(batch);
}

/* An empty batch: the spare one of the stage, if there is one. */
static struct batch *batch_new(struct queue *queue, const struct stage_call *call)
{
    struct batch *batch = queue->spare[call->stage];
    queue->spare[call->stage] = NULL;
    if (batch == NULL) {
        batch = xcalloc(1, sizeof *batch);
        list_init(&batch->node);
        batch->queue = queue;
    }
    batch->call = call;
    buf_clear(&batch->words.bytes);
    buf_clear(&batch->keys);
    batch->words.count = batch->runs = 0;
    clear_items(batch);
    if (indexed[call->stage] || call->stage == STAGE_ONCE)
        memset(batch->places, 0, sizeof batch->places);
    return batch;
}

void batch_seal(struct queue *queue, enum stage stage)
{
    struct batch *batch = queue->open[stage];
    if (batch == NULL)
        return;
    queue->open[stage] = NULL;
    list_append(&queue->sealed[stage], &batch->node);
}

static void batches_free(struct queue *queue)
{
    for (size_t stage = 0; stage < STAGES; stage++) {
        batch_seal(queue, (enum stage)stage);
        for (struct list *node; (node = list_pop(&queue->sealed[stage])) != NULL;)
            batch_free(container_of(node, struct batch, node));
        if (queue->spare[stage])
            batch_free(queue->spare[stage]);
        queue->spare[stage] = NULL;
    }
}

/* ---- items ------------------------------------------------------------------------------------------ */

bool batch_is_large(const struct batch *batch)
{
    return batch->words.bytes.len + batch->beside > BATCH_BYTES;
}

struct item *item_new(struct queue *queue, const struct stage_call *call, const char *id, union answer_fn fn,
                      void *ctx, struct batch **ret_batch)
{
    enum stage stage = call->stage;
    struct batch *batch = queue->open[stage];
    if (batch && (batch->count == BATCH_ITEMS || batch_is_large(batch)))
        batch_seal(queue, stage);
    if (queue->open[stage] == NULL)
        queue->open[stage] = batch_new(queue, call);
    batch = queue->open[stage];
    if (batch->count == batch->cap) {
        batch->cap = batch->cap ? batch->cap * 2 : 4;
        batch->items = xrealloc(batch->items, batch->cap * sizeof *batch->items);
    }
    struct item *item = &batch->items[batch->count++];
    queue->staged[queue->ways[stage]]++;
    *item = (struct item){.fn = fn, .ctx = ctx, .first_word = batch->words.count};
    memcpy(item->id, id, strnlen(id, sizeof item->id - 1));
    if (indexed[stage])
        *place_of(batch, item->id) = (uint16_t)batch->count;
    *ret_batch = batch;
    return item;
}

void item_done(struct batch *batch)
{
    batch->items[batch->count - 1].end_word = batch->words.count;
}

/* ---- answers ------------------------------------------------------------------------------------ */

const redisReply *reply_array(const redisReply *array, size_t i)
{
    if (i >= reply_count(array) || array->element[i]->type != REDIS_REPLY_ARRAY)
        return NULL;
    return array->element[i];
}

struct span reply_span(const redisReply *array, size_t i)
{
    if (i >= reply_count(array) || array->element[i]->type != REDIS_REPLY_STRING)
        return SPAN("");
    return (struct span){array->element[i]->str, (size_t)array->element[i]->len};
}

const char *reply_text(const redisReply *array, size_t i)
{
    return reply_span(array, i).p; /* hiredis ends strings with a NUL */
}

int64_t reply_number(const redisReply *array, size_t i)
{
    if (i >= reply_count(array))
        return 0;
    if (array->element[i]->type == REDIS_REPLY_INTEGER)
        return array->element[i]->integer;
    return strtoll(reply_text(array, i), NULL, 10);
}

enum queue_code reply_code(const redisReply *array, size_t i)
{
    int64_t code = i < reply_count(array) ? reply_number(array, i) : QUEUE_UNAVAILABLE;
    return code >= QUEUE_OK && code <= QUEUE_UNAVAILABLE ? (enum queue_code)code : QUEUE_UNAVAILABLE;
}

/* Reads the log again after a call that failed half-way: some of its events may be in the log without
 * anybody here having been told. `reply`: {"", {owner, seq to read on from, …}, why} */
static void recover(struct queue *queue, const redisReply *reply)
{
    const redisReply *missed = reply->element[1];
    const char *why = reply_text(reply, 2), *error = strstr(why, ": ");
    log_error("a function of the queue failed", "error", why);
    queue->refusal = redis_refused(error ? error + 2 : why);
    for (size_t i = 0; queue->tell_logged && i + 1 < reply_count(missed); i += 2)
        queue->tell_logged(queue, reply_text(missed, i), (uint64_t)reply_number(missed, i + 1));
}

/* ---- history ---- */

/* Without an answer it is tried again when Redis answers. */
static void on_renewed(struct op *op, const redisReply *answer)
{
    struct queue *queue = op->queue;
    if (answer == NULL) {
        snprintf(queue->server, sizeof queue->server, "unknown");
        queue->writes = UINT64_MAX;
    } else if (queue->renewed && answer->type == REDIS_REPLY_STRING) {
        queue->renewed(queue, answer->str);
    }
}

/* Everybody shall be told, by a new epoch, that Redis went on from an older state. */
static void renew(struct queue *queue)
{
    char epoch[13];
    id_random(epoch, sizeof epoch);
    struct op *op = op_new(queue, FUNCTION("renew"), on_renewed, NOBODY, NULL);
    words_text(&op->words, queue->server);
    words_text(&op->words, epoch);
}

/* Compares what this process was told before with what a server that it sees for the first time began with.
 */
static void note_history(struct queue *queue, uint64_t writes, const char *server)
{
    if (strcmp(server, queue->server) == 0) {
        if (writes > queue->writes)
            queue->writes = writes;
        return;
    }
    uint64_t began = strlen(server) > SERVER_DIGITS ? strtoull(server + SERVER_DIGITS, NULL, 10) : 0;
    bool lost = queue->server[0] && queue->writes > began;
    snprintf(queue->server, sizeof queue->server, "%s", server);
    queue->writes = writes;
    if (!lost)
        return;
    log_warn("Redis came back with an older state", "server", server);
    renew(queue);
}

/* The answer within a call's reply, NULL if the call failed; handles what the library says beside it. */
static const redisReply *take_answer(struct queue *queue, const redisReply *reply)
{
    queue->pending--;
    queue->refusal = REDIS_TAKES;
    if (queue->closed || reply == NULL)
        return NULL;
    if (reply->type == REDIS_REPLY_ERROR) {
        queue->refusal = redis_refusal_of(reply->str);
        if (queue->refusal == REDIS_FUNCTION && !queue->loading && !queue->config.reads_only)
            queue_load(queue, NULL, NULL);
        return NULL;
    }
    if (reply_count(reply) == 3)
        recover(queue, reply);
    if (reply_count(reply) != 2 && reply_count(reply) != 4)
        return NULL;
    if (reply_count(reply) == 4)
        note_history(queue, (uint64_t)reply_number(reply, 2), reply_text(reply, 3));
    event_lines_tell(reply_span(reply, 1), queue->hooks.on_event, queue->hooks.ctx);
    return reply->element[0];
}

/* ---- sending ------------------------------------------------------------------------------------ */

struct argv {
    const char **words;
    size_t *lengths;
    int count;
};

static void push(struct argv *argv, const char *word, size_t length)
{
    argv->words[argv->count] = word;
    argv->lengths[argv->count++] = length;
}

static void push_text(struct argv *argv, const char *word)
{
    push(argv, word, strlen(word));
}

static void push_words(struct argv *argv, const struct words *words, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct span word = words_at(words, i);
        push(argv, word.p, word.n);
    }
}

/* Room for `words` words behind the fixed ones, which are filled in. Only one argv exists at a time: they
 * share their memory. */
static struct argv argv_new(struct queue *queue, const char *function, size_t words)
{
    size_t room = words + FIXED_WORDS;
    if (queue->argv_room < room) {
        queue->argv_room = room;
        queue->argv_words = xrealloc(queue->argv_words, room * sizeof *queue->argv_words);
        queue->argv_lengths = xrealloc(queue->argv_lengths, room * sizeof *queue->argv_lengths);
    }
    struct argv argv = {.words = queue->argv_words, .lengths = queue->argv_lengths};
    push_text(&argv, "FCALL");
    push_text(&argv, function);
    push_text(&argv, "1");
    push_text(&argv, SHARD_PREFIX);
    push_text(&argv, queue->origin);
    push_text(&argv, queue->incarnation);
    return argv;
}

static void argv_call(struct queue *queue, enum way way, struct argv *argv, redis_reply_fn *fn, void *ctx)
{
    struct redis *redis = way == WAY_CONFIRMED ? queue->confirmed : queue->redis;
    queue->pending++;
    metric_add(METRIC_REDIS_CALLS, 1);
    redis_call(redis, fn, ctx, argv->count, argv->words, argv->lengths);
}

/* ---- batches -------------------------------------------------------------------------------------- */

unsigned numbers_retention(const struct queue_config *config, uint64_t ret_numbers[static NUMBERS_MAX])
{
    ret_numbers[0] = config->retention_heavy_ms;
    ret_numbers[1] = config->retention_light_ms;
    return 2;
}

static void on_batch(void *ctx, const redisReply *reply)
{
    struct batch *batch = ctx;
    struct queue *queue = batch->queue;
    struct batch **spare = &queue->spare[batch->call->stage];
    const redisReply *answer = take_answer(queue, reply);
    queue->batches[queue->ways[batch->call->stage]]--;
    if (queue->closed) {
        batch_free(batch);
        queue_maybe_free(queue);
        return;
    }
    batch->call->done(batch, answer);
    if (batch->words.bytes.cap > SPARE_BYTES)
        buf_free(&batch->words.bytes);
    if (*spare)
        batch_free(batch);
    else
        *spare = batch;
}

#define REPORT_WORDS 6
/* The words of a report; valid until it changes. */
static void report_words(struct report *report, struct span ret_words[static REPORT_WORDS])
{
    buf_clear(&report->numbers);
    buf_append_u64(&report->numbers, (uint64_t)report->percent);
    size_t first = report->numbers.len;
    buf_append_u64(&report->numbers, report->rev);
    ret_words[0] = (struct span){report->numbers.data, first};
    ret_words[1] = span_of(report->stage);
    ret_words[2] = buf_span(&report->message);
    ret_words[3] = buf_span(&report->meta);
    ret_words[4] = (struct span){report->numbers.data + first, report->numbers.len - first};
    ret_words[5] = buf_span(&report->lines);
}

/* An item's words. Verbs and report follow its id and fence. */
static void push_item(struct argv *argv, const struct batch *batch, const struct item *item)
{
    struct span reported[REPORT_WORDS];
    size_t from = item->first_word;
    if (item->verbs[0]) {
        push_words(argv, &batch->words, from, from + 2);
        push_text(argv, item->verbs);
        from += 2;
    }
    if (item->report) {
        report_words(item->report, reported);
        for (size_t i = 0; i < REPORT_WORDS; i++)
            push(argv, reported[i].p, reported[i].n);
    }
    push_words(argv, &batch->words, from, item->end_word);
    if (item->last.p)
        push(argv, item->last.p, item->last.n);
}

/* The numbers that the function takes before the items; `text` must live until the call is made. */
static void push_numbers(struct argv *argv, const struct batch *batch, char text[static NUMBERS_MAX][24])
{
    uint64_t numbers[NUMBERS_MAX];
    unsigned count = batch->call->numbers ? batch->call->numbers(&batch->queue->config, numbers) : 0;
    for (unsigned i = 0; i < count; i++) {
        snprintf(text[i], sizeof text[i], "%llu", (unsigned long long)numbers[i]);
        push_text(argv, text[i]);
    }
}

static void batch_send(struct batch *batch)
{
    struct queue *queue = batch->queue;
    size_t words = batch->words.count + batch->count * (1 + REPORT_WORDS);
    struct argv argv = argv_new(queue, batch->call->function, words);
    char text[NUMBERS_MAX][24];
    size_t sent = 0;
    push_numbers(&argv, batch, text);
    if (keyed[batch->call->stage])
        push(&argv, batch->keys.len ? batch->keys.data : "", batch->keys.len);
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->items[i].skipped)
            continue;
        push_item(&argv, batch, &batch->items[i]);
        sent++;
    }
    if (sent == 0) {
        if (queue->spare[batch->call->stage])
            batch_free(batch);
        else
            queue->spare[batch->call->stage] = batch;
        return;
    }
    enum way way = queue->ways[batch->call->stage];
    queue->batches[way]++;
    argv_call(queue, way, &argv, on_batch, batch);
}

/* ---- ops ------------------------------------------------------------------------------------------ */

struct op *op_new(struct queue *queue, const char *function, void (*done)(struct op *op, const redisReply *),
                  union answer_fn fn, void *ctx)
{
    struct op *op = xcalloc(1, sizeof *op);
    op->queue = queue;
    op->function = function;
    op->done = done;
    op->fn = fn;
    op->ctx = ctx;
    list_append(&queue->ops, &op->node);
    return op;
}

struct op *op_gathers(struct queue *queue, const char *function)
{
    struct op *last = container_of(queue->ops.prev, struct op, node);
    bool gathers = !list_empty(&queue->ops) && strcmp(last->function, function) == 0 &&
                   last->words.count < GATHERED_WORDS;
    return gathers ? last : op_new(queue, function, NULL, NOBODY, NULL);
}

static void on_turn(struct turn *turn)
{
    struct op *op = container_of(turn, struct op, turn);
    list_append(&op->queue->ops, &op->node);
}

void op_in_turn(struct op *op, struct span owner, size_t weight)
{
    if (op->queue->reads == NULL)
        return;
    list_remove(&op->node);
    op->weighed = weight;
    op->turn = (struct turn){.weight = weight, .go = on_turn};
    list_init(&op->turn.node);
    turns_ask(op->queue->reads, &op->turn, owner);
}

void op_confirmed(struct op *op)
{
    op->way = WAY_CONFIRMED;
}

void op_retention(struct op *op)
{
    words_number(&op->words, op->queue->config.retention_heavy_ms);
    words_number(&op->words, op->queue->config.retention_light_ms);
}

static void op_free(struct op *op)
{
    if (op->drop)
        op->drop(op);
    words_free(&op->words);
    free(op);
}

static void on_op(void *ctx, const redisReply *reply)
{
    struct op *op = ctx;
    struct queue *queue = op->queue;
    const redisReply *answer = take_answer(queue, reply);
    if (!queue->closed) {
        op->drop = NULL;
        if (op->done)
            op->done(op, answer);
    }
    if (!queue->closed)
        turns_done(queue->reads, &op->turn, op->weighed);
    op_free(op);
    queue_maybe_free(queue);
}

/* The queue is being freed: a read that still waits is never sent. */
static void on_turn_dropped(struct turn *turn)
{
    struct op *op = container_of(turn, struct op, turn);
    op->done(op, NULL);
    op_free(op);
}

static void op_send(struct op *op)
{
    struct argv argv = argv_new(op->queue, op->function, op->words.count);
    push_words(&argv, &op->words, 0, op->words.count);
    argv_call(op->queue, op->way, &argv, on_op, op);
}

/* ---- the end of a turn -------------------------------------------------------------------------------- */

/* While Redis works on earlier batches, later transitions gather: an idle queue answers at once, a busy
 * one gets few large calls, which cost less per task. */
static void flush_batches(struct queue *queue, enum way way)
{
    queue->staged[way] = 0;
    for (size_t stage = 0; stage < STAGES; stage++) {
        if (queue->ways[stage] != way)
            continue;
        batch_seal(queue, (enum stage)stage);
        for (struct list *node; (node = list_pop(&queue->sealed[stage])) != NULL;)
            batch_send(container_of(node, struct batch, node));
    }
}

static void flush(void *ctx)
{
    struct queue *queue = ctx;
    if (queue->staged[WAY_PLAIN] && queue->batches[WAY_PLAIN] == 0)
        flush_batches(queue, WAY_PLAIN);
    if (queue->staged[WAY_CONFIRMED] && queue->batches[WAY_CONFIRMED] == 0)
        flush_batches(queue, WAY_CONFIRMED);
    if (list_empty(&queue->ops))
        return;
    /* What callbacks add here (when the connection is down) waits for the next turn. */
    struct list ops;
    list_init(&ops);
    list_splice(&ops, &queue->ops);
    for (struct list *node; (node = list_pop(&ops)) != NULL;)
        op_send(container_of(node, struct op, node));
}

/* ---- life ------------------------------------------------------------------------------------------- */

void queue_set_holder(struct queue *queue)
{
    free(queue->holder);
    queue->holder = xasprintf("%s/%s", queue->origin, queue->incarnation);
}

struct queue *queue_new(struct loop *loop, struct redis *redis, const struct queue_config *config,
                        struct queue_hooks hooks)
{
    struct queue *queue = xcalloc(1, sizeof *queue);
    struct buf origin = BUF_INIT;
    queue->loop = loop;
    queue->redis = queue->confirmed = redis;
    queue->config = *config;
    queue->hooks = hooks;
    buf_append_text(&origin, config->hub ? "h:" : "w:");
    for (const char *c = config->origin; *c;
         c++) /* '/' separates it from the incarnation, ' ' separates words */
        buf_append_char(&origin, *c > ' ' && *c < 127 && *c != '/' ? *c : '_');
    queue->origin = buf_take_string(&origin);
    queue->config.origin = queue->origin + 2;
    id_random(queue->incarnation, sizeof queue->incarnation);
    queue_set_holder(queue);
    for (size_t stage = 0; stage < STAGES; stage++)
        list_init(&queue->sealed[stage]);
    list_init(&queue->ops);
    const struct turns_limits reads = {
        .owner_weight = READ_OWNER_WEIGHT,
        .weight = READ_WEIGHT,
        .rate = {config->user_rows_per_s, READ_BURST_S * config->user_rows_per_s}};
    if (config->user_rows_per_s)
        queue->reads = turns_new(loop, &reads);
    loop_hook(loop, LOOP_STAGE_QUEUE, flush, queue);
    return queue;
}

void queue_maybe_free(struct queue *queue)
{
    if (!queue->closed || queue->pending)
        return;
    buf_free(&queue->json);
    free(queue->argv_words);
    free(queue->argv_lengths);
    free(queue->origin);
    free(queue->holder);
    free(queue);
}

void queue_free(struct queue **queue_at)
{
    struct queue *queue = *queue_at;
    if (queue == NULL)
        return;
    *queue_at = NULL;
    loop_unhook(queue->loop, LOOP_STAGE_QUEUE, flush, queue);
    queue->closed = true;
    queue_drop_waiting(queue);
    batches_free(queue);
    for (struct list *node; (node = list_pop(&queue->ops)) != NULL;)
        op_free(container_of(node, struct op, node));
    turns_free(&queue->reads, on_turn_dropped);
    queue_maybe_free(queue);
}

const char *queue_name(const struct queue *queue)
{
    return queue->config.origin;
}

void queue_confirm(struct queue *queue, struct redis *confirmed)
{
    queue->confirmed = confirmed;
    queue->ways[STAGE_SUBMIT] = queue->ways[STAGE_ONCE] = WAY_CONFIRMED;
}

bool queue_is_writing(const struct queue *queue)
{
    return queue->batches[WAY_PLAIN] > 0;
}

struct redis *queue_redis(struct queue *queue)
{
    return queue->redis;
}
