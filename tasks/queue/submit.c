/* SPDX-License-Identifier: MIT */
/* New tasks: submission, and light tasks recorded only once, when they have ended; see queue.h. Loop
 * thread only. Never checks limits or keys: the Lua functions do. */
#include "hub/json/json_digest.h"
#include "tasks/queue/client_private.h"

#include <sodium.h>

static bool is_empty_object(struct span json)
{
    return json.n == 0 || span_is(json, "{}");
}

_Static_assert(KEY_BYTES == 32 + crypto_shorthash_siphashx24_BYTES, "effect, task, digest");

void key_bytes(unsigned char key[static KEY_BYTES], const char *effect_id, const char *id, const char *what,
               struct span args)
{
    unsigned char digest[JSON_DIGEST_SIZE];
    id_bytes(key, effect_id);
    id_bytes(key + 16, id);
    json_digest(args, digest);
    crypto_shorthash_siphashx24(key + 32, (const unsigned char *)what, strlen(what), digest);
}

static void key_of_submit(unsigned char key[static KEY_BYTES], const struct queue_submit *submit)
{
    key_bytes(key, submit->effect_id, submit->id, submit->task, submit->args.n ? submit->args : SPAN("{}"));
}

_Static_assert(JSON_DIGEST_SIZE == crypto_shorthash_siphashx24_KEYBYTES, "one digest is the key of the next");

void queue_effect_id(char id[static ID_SIZE], const char *owner, struct span key)
{
    unsigned char hash[16];
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, (const unsigned char *)owner, strlen(owner) + 1);
    crypto_generichash_update(&state, (const unsigned char *)key.p, key.n);
    crypto_generichash_final(&state, hash, sizeof hash);
    id_of_bytes(id, hash);
}

/* "task queue priority max base cap flags". Avoids printf(): this runs for every task. */
static void append_head(struct buf *to, const struct queue_submit *submit)
{
    const uint64_t numbers[] = {submit->priority < 9 ? submit->priority : 9,
                                submit->max_attempts ? submit->max_attempts : 1, submit->backoff_base_ms,
                                submit->backoff_cap_ms};
    buf_append_text(to, submit->task);
    buf_append_char(to, ' ');
    buf_append_text(to, submit->queue);
    for (size_t i = 0; i < NELEMS(numbers); i++) {
        buf_append_char(to, ' ');
        buf_append_u64(to, numbers[i]);
    }
    buf_append_text(to, " -");
    buf_append_text(to, submit->light ? "l" : "");
    buf_append_text(to, submit->stream ? "s" : "");
}

/* "lease retry_of delay expires effect"; empty for a plain task. */
static void add_options(struct words *words, const struct queue_submit *submit)
{
    if (submit->lease || submit->retry_of || submit->delay_ms || submit->expires_ms || submit->effect_id)
        buf_printf(&words->bytes, "%d %s %llu %llu %s", submit->lease,
                   submit->retry_of ? submit->retry_of : "-", (unsigned long long)submit->delay_ms,
                   (unsigned long long)submit->expires_ms, submit->effect_id ? submit->effect_id : "-");
    words_add(words, SPAN_NONE); /* ends the word */
}

static struct queue_submitted unavailable(const struct item *item)
{
    struct queue_submitted submitted = {.code = QUEUE_UNAVAILABLE};
    memcpy(submitted.id, item->id, sizeof submitted.id);
    return submitted;
}

/* The outcome of a task that was recorded. */
static struct queue_submitted accepted(const struct item *item, uint64_t seq, int64_t at_ms)
{
    struct queue_submitted submitted = {
        .code = QUEUE_OK, .seq = seq, .at_ms = at_ms, .fence = item->lease ? 1 : 0, .status = "pending"};
    memcpy(submitted.id, item->id, sizeof submitted.id);
    return submitted;
}

/* The outcome of one that was not: {code, id, status, number, place in the call, bytes kept, most}. */
static struct queue_submitted not_accepted(const struct item *item, const redisReply *answer)
{
    struct queue_submitted submitted = unavailable(item);
    uint64_t number = (uint64_t)reply_number(answer, 3);
    submitted.code = reply_code(answer, 0);
    bool limit = submitted.code == QUEUE_USER_LIMIT || submitted.code == QUEUE_GLOBAL_LIMIT ||
                 submitted.code == QUEUE_QUOTA;
    *(limit ? &submitted.retry_ms : &submitted.seq) = number;
    if (submitted.code == QUEUE_QUOTA) {
        submitted.used = (uint64_t)reply_number(answer, 5);
        submitted.most = (uint64_t)reply_number(answer, 6);
    }
    if (submitted.code == QUEUE_DUPLICATE) {
        snprintf(submitted.id, sizeof submitted.id, "%s", reply_text(answer, 1));
        snprintf(submitted.status, sizeof submitted.status, "%s", reply_text(answer, 2));
    }
    return submitted;
}

/* `answer`: one element per task, then the time. */
static void on_submitted(struct batch *batch, const redisReply *answer)
{
    size_t count = reply_count(answer);
    int64_t at_ms = count ? reply_number(answer, count - 1) : 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        const redisReply *other = reply_array(answer, i);
        struct queue_submitted submitted = other ? not_accepted(item, other)
                                           : i + 1 < count
                                               ? accepted(item, (uint64_t)reply_number(answer, i), at_ms)
                                               : unavailable(item);
        item->fn.submitted(item->ctx, &submitted);
    }
}

static void tell_recorded(const struct item *item, struct queue_submitted *submitted)
{
    if (submitted->code == QUEUE_OK) {
        item->end->at_ms = submitted->at_ms;
        submitted->event = event_text_build(item->end, submitted->seq, 0);
        submitted->event->only = true;
    }
    item->fn.submitted(item->ctx, submitted);
    event_unref(&submitted->event);
}

/* `answer`: the time, the seq of each run's first task (the others' follow it), then the tasks that were
 * not recorded, each with its index. */
static void on_recorded(struct batch *batch, const redisReply *answer)
{
    size_t run = 0, next = 1 + batch->runs;
    int64_t at_ms = reply_number(answer, 0);
    uint64_t seq = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        struct queue_submitted submitted;
        const redisReply *other = reply_array(answer, next);
        if (item->leads)
            seq = (uint64_t)reply_number(answer, ++run);
        if (answer == NULL) {
            submitted = unavailable(item);
        } else if (other && reply_number(other, 4) == (int64_t)i) {
            submitted = not_accepted(item, other);
            next++;
        } else {
            submitted = accepted(item, seq++, at_ms);
        }
        tell_recorded(item, &submitted);
    }
}

static unsigned submit_numbers(const struct queue_config *config, uint64_t ret_numbers[static NUMBERS_MAX])
{
    ret_numbers[0] = config->user_tasks;
    ret_numbers[1] = config->global_tasks;
    ret_numbers[2] = config->lease_ms;
    ret_numbers[3] = config->user_light;
    ret_numbers[4] = config->user_delayed;
    return 5;
}

static unsigned once_numbers(const struct queue_config *config, uint64_t ret_numbers[static NUMBERS_MAX])
{
    ret_numbers[0] = config->retention_light_ms;
    return 1;
}

static const struct stage_call submit_call = {STAGE_SUBMIT, FUNCTION("submit"), submit_numbers, on_submitted};
static const struct stage_call once_call = {STAGE_ONCE, FUNCTION("recorded_once"), once_numbers, on_recorded};

static void add_args(struct words *words, struct span json)
{
    words_json(words, is_empty_object(json) ? SPAN_NONE : json);
}

/* ---- runs ------------------------------------------------------------------------------------- */

/* Tasks that are recorded once are grouped in runs: each has only its id and outcome as words; what they
 * share comes once, before the first of a run. A shape is the part that tasks of several owners may share. */
enum { RUN_OWNER, RUN_SHAPE, RUN_COUNT, RUN_WORDS };
#define COUNT_DIGITS 3
#define TIME_DIGITS 13 /* leading characters of an id: the millisecond of its creation */

/* "kind began time head" */
static void add_shape(struct words *words, const struct queue_submit *submit)
{
    static const char *const kinds[2][2] = {{"C ", "X "}, {"c ", "x "}}; /* lower case: with a key */
    struct buf *to = &words->bytes;
    buf_append_text(to, kinds[submit->effect_id != NULL][submit->end->code == 'X']);
    buf_append_u64(to, submit->started_ms);
    buf_append_char(to, ' ');
    buf_append(to, submit->id, TIME_DIGITS);
    buf_append_char(to, ' ');
    append_head(to, submit);
    words_add(words, SPAN_NONE); /* ends the word */
}

/* Whether the words from `at` on equal those the newest run begins with. */
static bool continues_run(const struct batch *batch, size_t at)
{
    const struct words *words = &batch->words;
    bool same = batch->runs > 0;
    for (size_t i = RUN_OWNER; same && i < RUN_COUNT; i++)
        same = span_equal(words_at(words, at + i), words_at(words, batch->run_word + i));
    return same;
}

/* Counts one more task in the newest run. */
static void count_in_run(struct batch *batch)
{
    struct words *words = &batch->words;
    char *digits = words->bytes.data + words->ends[batch->run_word + RUN_COUNT] - COUNT_DIGITS;
    for (size_t i = COUNT_DIGITS; i-- && ++digits[i] > '9';)
        digits[i] = '0';
}

/* Adds the words the item shares with others of its run, unless the newest run has them already. */
static void join_run(struct batch *batch, struct item *item, const struct queue_submit *submit)
{
    size_t at = batch->words.count;
    words_text(&batch->words, submit->owner);
    add_shape(&batch->words, submit);
    if (continues_run(batch, at)) {
        words_cut(&batch->words, at);
    } else {
        words_text(&batch->words, "000");
        item->leads = true;
        batch->runs++;
        batch->run_word = at;
    }
    count_in_run(batch);
}

/* Adds the result; or code, error and arguments, one line each. */
static void add_outcome(struct words *words, const struct queue_submit *submit)
{
    const struct event_text *end = submit->end;
    bool failed = end->code == 'X';
    if (failed) {
        char code[WORD_SIZE];
        text_word(code, end->error_code.p, end->error_code.n);
        buf_append_text(&words->bytes, code);
        buf_append_char(&words->bytes, '\n');
        text_quoted(&words->bytes, end->error.p ? end->error : SPAN(""), 4096);
        buf_append_char(&words->bytes, '\n');
    }
    add_args(words, failed ? submit->args : end->result);
}

/* The place of a key in the batch, or the free one where it belongs. Keys begin with a hash, so none is
 * computed. */
static uint16_t *place_of_key(struct batch *batch, const unsigned char *key)
{
    uint64_t hash;
    memcpy(&hash, key, sizeof hash);
    for (size_t i = (size_t)hash;; i++) {
        uint16_t *place = &batch->places[i & (BATCH_PLACES - 1)];
        if (*place == 0 || memcmp(batch->keys.data + (*place - 1u) * KEY_BYTES, key, EFFECT_BYTES) == 0)
            return place;
    }
}

/* Starts a new call when a key would occur twice in one: the functions only look at keys of earlier calls. */
static void part_same_keys(struct queue *queue, const unsigned char *key)
{
    struct batch *batch = queue->open[STAGE_ONCE];
    if (batch && *place_of_key(batch, key))
        batch_seal(queue, STAGE_ONCE);
}

static void add_key(struct batch *batch, const unsigned char *key)
{
    uint16_t *place = place_of_key(batch, key);
    buf_append(&batch->keys, key, KEY_BYTES);
    *place = (uint16_t)(batch->keys.len / KEY_BYTES);
}

static void submit_once(struct queue *queue, const struct queue_submit *submit, queue_submitted_fn *fn,
                        void *ctx)
{
    unsigned char key[KEY_BYTES];
    struct batch *batch;
    if (submit->effect_id) {
        key_of_submit(key, submit);
        part_same_keys(queue, key);
    }
    struct item *item =
        item_new(queue, &once_call, submit->id, (union answer_fn){.submitted = fn}, ctx, &batch);
    item->end = submit->end;
    join_run(batch, item, submit);
    words_text(&batch->words, submit->id);
    add_outcome(&batch->words, submit);
    if (submit->effect_id)
        add_key(batch, key);
    item_done(batch);
}

static void submit_first(struct queue *queue, const struct queue_submit *submit, queue_submitted_fn *fn,
                         void *ctx)
{
    unsigned char key[KEY_BYTES];
    struct batch *batch;
    struct item *item =
        item_new(queue, &submit_call, submit->id, (union answer_fn){.submitted = fn}, ctx, &batch);
    struct words *words = &batch->words;
    item->lease = submit->lease;
    words_text(words, submit->id);
    words_text(words, submit->owner);
    append_head(&words->bytes, submit);
    words_add(words, SPAN_NONE); /* ends the word */
    add_args(words, submit->args);
    add_options(words, submit);
    if (submit->effect_id) {
        key_of_submit(key, submit);
        buf_append(&batch->keys, key, sizeof key);
    }
    item_done(batch);
}

void queue_submit(struct queue *queue, const struct queue_submit *submit, queue_submitted_fn *fn, void *ctx)
{
    (submit->end ? submit_once : submit_first)(queue, submit, fn, ctx);
}
