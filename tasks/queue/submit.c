/* New tasks: submit and the fused light path; see queue.h. Loop thread only. */
#include "hub/json/json_digest.h"
#include "tasks/queue/client_private.h"

#include <sodium.h>

static bool is_empty_object(struct span json)
{
    return json.n == 0 || span_is(json, "{}");
}

#define DIGEST_BYTES JSON_DIGEST_SIZE

static void digest_args(char text[static 2 * DIGEST_BYTES + 1], struct span args)
{
    unsigned char digest[DIGEST_BYTES];
    json_digest(args.n ? args : SPAN("{}"), digest);
    sodium_bin2hex(text, 2 * DIGEST_BYTES + 1, digest, sizeof digest);
}

/* "lease retry_of delay expires args key": the key may hold spaces. Nothing for a plain task. */
static void add_options(struct words *words, const struct queue_submit *submit)
{
    char args[2 * DIGEST_BYTES + 1] = "-";
    size_t key = submit->idempotency_key.n;
    if (key)
        digest_args(args, submit->args);
    if (submit->lease || submit->retry_of || submit->delay_ms || submit->expires_ms || key) {
        buf_printf(&words->bytes, "%d %s %llu %llu %s ", submit->lease,
                   submit->retry_of ? submit->retry_of : "-", (unsigned long long)submit->delay_ms,
                   (unsigned long long)submit->expires_ms, args);
    }
    words_add(words, submit->idempotency_key); /* ends the word */
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
        item->fn.submitted(item->ctx, &submitted);
    }
}

static unsigned submit_numbers(const struct queue_config *config, uint64_t ret_numbers[static NUMBERS_MAX])
{
    ret_numbers[0] = config->user_tasks;
    ret_numbers[1] = config->global_tasks;
    ret_numbers[2] = config->lease_ms;
    ret_numbers[3] = config->user_light;
    return 4;
}

static const struct stage_call submit_call = {STAGE_SUBMIT, FUNCTION("submit"), submit_numbers, on_submitted};

void queue_submit(struct queue *queue, const struct queue_submit *submit, queue_submitted_fn *fn, void *ctx)
{
    struct batch *batch;
    struct item *item = item_new(queue, &submit_call, submit->id, &batch);
    struct words *words = &batch->words;
    char head[256];
    item->fn.submitted = fn;
    item->ctx = ctx;
    item->lease = submit->lease;
    snprintf(head, sizeof head, "%s %s %u %u %u %u -%s%s", submit->task, submit->queue,
             submit->priority < 9 ? submit->priority : 9, submit->max_attempts ? submit->max_attempts : 1,
             submit->backoff_base_ms, submit->backoff_cap_ms, submit->light ? "l" : "",
             submit->stream ? "s" : "");
    words_text(words, submit->id);
    words_text(words, submit->owner);
    words_text(words, head);
    words_json(words, is_empty_object(submit->args) ? SPAN_NONE : submit->args);
    add_options(words, submit);
    item_done(batch);
}

static void on_fused(struct batch *batch, const redisReply *answer)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct queue_fused_done done = {.code = QUEUE_UNAVAILABLE};
        if (i + 1 < reply_count(answer))
            done = (struct queue_fused_done){QUEUE_OK, (uint64_t)reply_number(answer, i + 1),
                                             reply_number(answer, 0)};
        batch->items[i].fn.fused(batch->items[i].ctx, &done);
    }
}

static unsigned fused_numbers(const struct queue_config *config, uint64_t ret_numbers[static NUMBERS_MAX])
{
    ret_numbers[0] = config->retention_light_ms;
    return 1;
}

static const struct stage_call fused_call = {STAGE_FUSED, FUNCTION("fused"), fused_numbers, on_fused};

void queue_fused(struct queue *queue, const struct queue_fused *task, queue_fused_fn *fn, void *ctx)
{
    struct batch *batch;
    struct item *item = item_new(queue, &fused_call, task->id, &batch);
    struct words *words = &batch->words;
    char head[160];
    item->fn.fused = fn;
    item->ctx = ctx;
    snprintf(head, sizeof head, "%s %llu %llu", task->task, (unsigned long long)task->created_ms,
             (unsigned long long)task->started_ms);
    words_text(words, task->id);
    words_text(words, task->owner);
    words_text(words, task->failed ? "X" : "C");
    words_text(words, head);
    if (task->failed) {
        struct words lines = {0}; /* code, error, arguments */
        words_word(&lines, task->error_code.p, task->error_code.n);
        buf_append_char(&lines.bytes, '\n');
        words_quoted(&lines, task->error.p ? task->error : SPAN(""), 4096);
        buf_append_char(&lines.bytes, '\n');
        words_json(&lines, is_empty_object(task->args) ? SPAN_NONE : task->args);
        words_add(words, buf_span(&lines.bytes));
        words_free(&lines);
    } else {
        words_json(words, is_empty_object(task->result) ? SPAN_NONE : task->result);
    }
    item_done(batch);
}
