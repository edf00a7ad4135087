/* SPDX-License-Identifier: MIT */
/* A batch of JSON-RPC requests: an answerer that collects their answers into one array, and the events
 * that must follow them. Loop thread. Never parses a request. */
#include "handlers/rpc/rpc.h"

#include "handlers/rpc/app.h"

#define BATCH_BYTES (1u << 20) /* bytes of answers per batch; beyond, only small ones and the first */
#define SMALL_BYTES 1024       /* an answer about a new task always fits, so it is never refused */

struct follower { /* events kept until the batch is answered */
    struct list node;
    struct owner_news news;
    bool read; /* the batch's answer tells of it */
    char owner[OWNER_SIZE];
    char task_id[ID_SIZE];
};

struct batch {
    struct answerer answerer;
    struct answerer *reader;
    struct buf out;
    struct list followers;
};

static struct batch *batch_of(struct answerer *answerer)
{
    return container_of(answerer, struct batch, answerer);
}

static void batch_answer(struct answerer *to, struct span id, const struct request_error *error,
                         struct span result)
{
    static const struct request_error full = {.code = RPC_TOO_LARGE,
                                              .message = "The answers of this batch are too large together"};
    struct buf *out = &batch_of(to)->out;
    struct load *load = batch_of(to)->reader->load;
    size_t before = out->len;
    bool fits = error || result.n <= SMALL_BYTES ||
                ((before == 0 || before + result.n <= BATCH_BYTES) && load_fits(load, result.n));
    buf_append_char(out, before ? ',' : '[');
    rpc_write_answer(out, id, fits ? error : &full, result);
    load_unwritten(load, before, out->len);
}

/* Keeps events of the task, whichever way they come, until the answer is written. */
static void batch_follow(struct answerer *to, const struct owner_news *news, bool read)
{
    struct follower *follower = xmalloc(sizeof *follower);
    follower->news = *news;
    follower->read = read;
    memcpy(follower->owner, news->owner, strlen(news->owner) + 1);
    memcpy(follower->task_id, news->task_id, strlen(news->task_id) + 1);
    follower->news.owner = follower->owner;
    follower->news.task_id = follower->task_id;
    if (news->event)
        event_ref(news->event);
    if (!news->held) {
        owners_hold(to->app->owners, follower->owner, follower->task_id);
        follower->news.held = true;
    }
    list_append(&batch_of(to)->followers, &follower->node);
}

/* Sends the array once every request in it was answered, then the events. */
static void batch_free(struct answerer *answerer)
{
    struct batch *batch = batch_of(answerer);
    struct answerer *reader = batch->reader;
    load_unwritten(reader->load, batch->out.len, 0);
    if (!reader->gone && batch->out.len) {
        buf_append_char(&batch->out, ']');
        reader->ops->send(reader->sink, buf_span(&batch->out), false);
    }
    for (struct list *node; (node = list_pop(&batch->followers)) != NULL;) {
        struct follower *follower = container_of(node, struct follower, node);
        owners_news(answerer->app->owners, &follower->news, follower->read ? reader->member : NULL);
        event_unref(&follower->news.event);
        free(follower);
    }
    buf_free(&batch->out);
    free(batch);
    answerer_unref(reader);
}

struct answerer *batch_new(struct answerer *reader)
{
    static const struct answerer_ops ops = {
        .answer = batch_answer, .follow = batch_follow, .free = batch_free};
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->answerer = (struct answerer){.ops = &ops, .app = reader->app, .collects_for = reader, .refs = 1};
    batch->reader = reader;
    reader->refs++;
    list_init(&batch->followers);
    return &batch->answerer;
}
