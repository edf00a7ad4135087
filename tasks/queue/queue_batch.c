/* Batches: what is staged during a turn, of one kind each; see queue_private.h. One spent batch per stage is
 * kept, so that a turn allocates nothing once the queue has been busy. Loop thread only. Sends nothing. */
#include "tasks/queue/queue_private.h"

#define BATCH_ITEMS 256
#define BATCH_BYTES (1u << 20)
#define SPARE_BYTES 65536 /* a batch that grew beyond is not worth keeping whole */
#define SPARE_REPORTS 256 /* kept to be used again */
#define REPORT_BYTES 4096 /* a buffer of a report that grew beyond is not kept */

/* Stages that item_find() looks into. */
static const bool indexed[STAGES] = {[STAGE_REPORT] = true, [STAGE_UPDATE] = true, [STAGE_END] = true};

_Static_assert(BATCH_PLACES >= 2 * BATCH_ITEMS, "the index is never more than half full");
_Static_assert((BATCH_PLACES & (BATCH_PLACES - 1)) == 0, "a power of two");

/* ---- the index ------------------------------------------------------------------------------------ */

/* The place of this id, or the free one where it belongs. The end of an id is its random part. */
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

struct report *report_new(struct queue *queue)
{
    struct list *node = list_pop(&queue->reports);
    if (node) {
        queue->report_count--;
        return container_of(node, struct report, node);
    }
    struct report *report = xcalloc(1, sizeof *report);
    list_init(&report->node);
    return report;
}

static void report_free(struct report *report)
{
    buf_free(&report->message);
    buf_free(&report->meta);
    buf_free(&report->lines);
    buf_free(&report->numbers);
    free(report);
}

static void report_done(struct queue *queue, struct report *report)
{
    struct buf *const bufs[] = {&report->message, &report->meta, &report->lines, &report->numbers};
    if (queue->report_count == SPARE_REPORTS || queue->closed) {
        report_free(report);
        return;
    }
    for (size_t i = 0; i < NELEMS(bufs); i++) {
        if (bufs[i]->cap > REPORT_BYTES)
            buf_free(bufs[i]);
        buf_clear(bufs[i]);
    }
    report->stage[0] = '\0';
    list_append(&queue->reports, &report->node);
    queue->report_count++;
}

static void reports_free(struct queue *queue)
{
    for (struct list *node; (node = list_pop(&queue->reports)) != NULL;)
        report_free(container_of(node, struct report, node));
    queue->report_count = 0;
}

static void item_clear(struct queue *queue, struct item *item)
{
    if (item->report)
        report_done(queue, item->report);
    for (struct listener *listener = item->listener.next, *after; listener; listener = after) {
        after = listener->next;
        free(listener);
    }
    item->report = NULL;
    item->listener = (struct listener){0};
}

/* ---- life ------------------------------------------------------------------------------------------- */

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
    return batch;
}

static void clear_items(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        item_clear(batch->queue, &batch->items[i]);
    batch->count = batch->reported = 0;
}

static void batch_free(struct batch *batch)
{
    clear_items(batch);
    words_free(&batch->words);
    free(batch->items);
    free(batch);
}

void batch_done(struct batch *batch)
{
    struct batch **spare = &batch->queue->spare[batch->call->stage];
    if (*spare || batch->queue->closed) {
        batch_free(batch);
        return;
    }
    if (batch->words.bytes.cap > SPARE_BYTES)
        buf_free(&batch->words.bytes);
    buf_clear(&batch->words.bytes);
    batch->words.count = 0;
    clear_items(batch);
    if (indexed[batch->call->stage])
        memset(batch->places, 0, sizeof batch->places);
    *spare = batch;
}

void batch_seal(struct queue *queue, enum stage stage)
{
    struct batch *batch = queue->open[stage];
    if (batch == NULL)
        return;
    queue->open[stage] = NULL;
    list_append(&queue->sealed[stage], &batch->node);
}

void batches_free(struct queue *queue)
{
    for (size_t stage = 0; stage < STAGES; stage++) {
        batch_seal(queue, (enum stage)stage);
        for (struct list *node; (node = list_pop(&queue->sealed[stage])) != NULL;)
            batch_free(container_of(node, struct batch, node));
        if (queue->spare[stage])
            batch_free(queue->spare[stage]);
        queue->spare[stage] = NULL;
    }
    reports_free(queue);
}

/* ---- items ------------------------------------------------------------------------------------------ */

bool batch_is_large(const struct batch *batch)
{
    return batch->words.bytes.len + batch->reported > BATCH_BYTES;
}

struct item *item_new(struct queue *queue, const struct stage_call *call, const char *id,
                      struct batch **ret_batch)
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
    *item = (struct item){.first_word = batch->words.count};
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
