/* SPDX-License-Identifier: MIT */
/* New tasks: submit, and light tasks that are recorded once, as they ended; see queue.h. Loop thread only. */
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

static void add_key(struct batch *batch, const struct queue_submit *submit)
{
    unsigned char key[KEY_BYTES];
    if (submit->effect_id == NULL)
        return;
    key_bytes(key, submit->effect_id, submit->id, submit->task, submit->args.n ? submit->args : SPAN("{}"));
    buf_append(&batch->keys, key, sizeof key);
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

/* "task queue priority max base cap flags". It is made for every task: without printf(). */
static void add_head(struct words *words, const struct queue_submit *submit)
{
    const uint64_t numbers[] = {submit->priority < 9 ? submit->priority : 9,
                                submit->max_attempts ? submit->max_attempts : 1, submit->backoff_base_ms,
                                submit->backoff_cap_ms};
    struct buf *to = &words->bytes;
    buf_append_text(to, submit->task);
    buf_append_char(to, ' ');
    buf_append_text(to, submit->queue);
    for (size_t i = 0; i < NELEMS(numbers); i++) {
        buf_append_char(to, ' ');
        buf_append_u64(to, numbers[i]);
    }
    buf_append_text(to, " -");
    buf_append_text(to, submit->light ? "l" : "");
    words_text(words, submit->stream ? "s" : ""); /* ends the word */
}

/* "lease retry_of delay expires effect". Nothing for a plain task. */
static void add_options(struct words *words, const struct queue_submit *submit)
{
    if (submit->lease || submit->retry_of || submit->delay_ms || submit->expires_ms || submit->effect_id)
        buf_printf(&words->bytes, "%d %s %llu %llu %s", submit->lease,
                   submit->retry_of ? submit->retry_of : "-", (unsigned long long)submit->delay_ms,
                   (unsigned long long)submit->expires_ms, submit->effect_id ? submit->effect_id : "-");
    words_add(words, SPAN_NONE); /* ends the word */
}

/* One task's answer: its seq, or {code, id, status, number}. */
static struct queue_submitted parse_submitted(const struct item *item, const redisReply *answer, size_t i)
{
    struct queue_submitted submitted = {.code = QUEUE_UNAVAILABLE};
    snprintf(submitted.id, sizeof submitted.id, "%s", item->id);
    const redisReply *other = reply_array(answer, i);
    if (other) {
        submitted.code = reply_code(other, 0);
        uint64_t number = (uint64_t)reply_number(other, 3);
        bool limit = submitted.code == QUEUE_USER_LIMIT || submitted.code == QUEUE_GLOBAL_LIMIT;
        *(limit ? &submitted.retry_ms : &submitted.seq) = number;
        if (submitted.code == QUEUE_DUPLICATE) {
            snprintf(submitted.id, sizeof submitted.id, "%s", reply_text(other, 1));
            snprintf(submitted.status, sizeof submitted.status, "%s", reply_text(other, 2));
        }
    } else if (i + 1 < reply_count(answer)) { /* the last one is the time */
        submitted.code = QUEUE_OK;
        submitted.seq = (uint64_t)reply_number(answer, i);
        submitted.at_ms = reply_number(answer, reply_count(answer) - 1);
        submitted.fence = item->lease ? 1 : 0;
        snprintf(submitted.status, sizeof submitted.status, "pending");
    }
    return submitted;
}

static void on_submitted(struct batch *batch, const redisReply *answer)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        struct queue_submitted submitted = parse_submitted(item, answer, i);
        if (item->end && submitted.code == QUEUE_OK) {
            item->end->at_ms = submitted.at_ms;
            submitted.event = event_text_build(item->end, submitted.seq, 0);
        }
        item->fn.submitted(item->ctx, &submitted);
        event_unref(&submitted.event);
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
static const struct stage_call once_call = {STAGE_ONCE, FUNCTION("recorded_once"), once_numbers,
                                            on_submitted};

static void add_args(struct words *words, struct span json)
{
    words_json(words, is_empty_object(json) ? SPAN_NONE : json);
}

/* How a task ended that is recorded once: its kind (small with a key), when it began, and its
 * result, or code, error and arguments, a line each. */
static void add_end(struct words *words, const struct queue_submit *submit)
{
    static const char *const kinds[2][2] = {{"C", "X"}, {"c", "x"}};
    const struct event_text *end = submit->end;
    bool failed = end->code == 'X';
    words_text(words, kinds[submit->effect_id != NULL][failed]);
    words_number(words, submit->started_ms);
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

void queue_submit(struct queue *queue, const struct queue_submit *submit, queue_submitted_fn *fn, void *ctx)
{
    struct batch *batch;
    struct item *item = item_new(queue, submit->end ? &once_call : &submit_call, submit->id,
                                 (union answer_fn){.submitted = fn}, ctx, &batch);
    struct words *words = &batch->words;
    item->lease = submit->lease;
    item->end = submit->end;
    words_text(words, submit->id);
    words_text(words, submit->owner);
    add_head(words, submit);
    if (submit->end) {
        add_end(words, submit);
    } else {
        add_args(words, submit->args);
        add_options(words, submit);
    }
    add_key(batch, submit);
    item_done(batch);
}
