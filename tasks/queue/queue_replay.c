/* Reads an owner's log: turns its small entries into the events they were, with results and errors from the
 * records. Loop thread only. */
#include "hub/json/json.h"
#include "tasks/queue/event_body.h"
#include "tasks/queue/queue_feed_private.h"

enum logged { /* words of one event in the function's answer */
              LOGGED_SEQ,
              LOGGED_ENTRY,
              LOGGED_TEXT,
              LOGGED_OUTCOME,
};

/* The decoded text of a JSON string. */
static struct span plain(struct buf *to, struct span quoted)
{
    buf_clear(to);
    if (json_kind_of(quoted) == KIND_STRING)
        json_string_append(to, quoted);
    return to->len ? buf_span(to) : SPAN("");
}

/* What only the log knows. */
static void set_logged(struct event_body *parts, char code, struct span logged, struct buf *text)
{
    const char *end = logged.n ? memchr(logged.p, '\n', logged.n) : NULL;
    if (code == 'F') {
        parts->meta = logged;
    } else if (code == 'L') {
        parts->message = plain(text, logged);
    } else if (code == 'R' && end) { /* "code\nerror" */
        size_t n = (size_t)(end - logged.p);
        parts->error_code = (struct span){logged.p, n};
        parts->error = plain(text, (struct span){end + 1, logged.n - n - 1});
    }
}

/* What the record knows of a task that ended: {0} = gone or too large. */
static void set_outcome(struct event_body *parts, char code, const redisReply *outcome, struct buf *text)
{
    bool known = reply_number(outcome, 0) != 0;
    if (code == 'C') {
        parts->result = known ? reply_span(outcome, 1) : SPAN_NONE;
        parts->result_omitted = !known;
    } else if (known) {
        parts->error_code = reply_span(outcome, 1);
        parts->error = plain(text, reply_span(outcome, 2));
    }
}

/* `text` is scratch for what has to be decoded. */
static struct event *event_of(const char *owner, const redisReply *logged, struct buf *body, struct buf *text)
{
    struct span extra = reply_span(logged, LOGGED_TEXT);
    uint64_t seq = (uint64_t)reply_number(logged, LOGGED_SEQ);
    struct queue_entry entry;
    if (!queue_entry_parse(reply_span(logged, LOGGED_ENTRY), &entry))
        return NULL;
    if (entry.code == 'N')
        return event_new('N', seq, 0, 0, SPAN(""), extra);
    struct event_body parts = queue_entry_body(&entry, owner);
    set_logged(&parts, entry.code, extra, text);
    set_outcome(&parts, entry.code, reply_array(logged, LOGGED_OUTCOME), text);
    buf_clear(body);
    event_body_write(body, &parts);
    return event_new(entry.code, seq, 0, entry.attempt, span_of(entry.id), buf_span(body));
}

static void collect(const char *owner, const redisReply *events, struct owner_replay *replay)
{
    struct buf body CLEANUP(buf_free) = BUF_INIT;
    struct buf text CLEANUP(buf_free) = BUF_INIT;
    for (size_t i = 0; i < reply_count(events); i++) {
        struct event *event = event_of(owner, reply_array(events, i), &body, &text);
        if (event)
            replay->events[replay->count++] = event;
    }
}

struct replay_call { /* what the answer is compared with */
    uint64_t after;
    char owner[];
};

/* {head, more, events} */
static struct owner_replay replay_of(const struct replay_call *call, const redisReply *answer)
{
    const redisReply *events = reply_array(answer, 2);
    uint64_t head = (uint64_t)reply_number(answer, 0);
    struct owner_replay replay = {.ok = events != NULL, .more = reply_number(answer, 1) != 0};
    replay.events = xcalloc(reply_count(events), sizeof *replay.events);
    collect(call->owner, events, &replay);
    uint64_t first = replay.count ? replay.events[0]->seq : 0;
    replay.gap = replay.ok && (head < call->after || (head > call->after && first != call->after + 1));
    return replay;
}

static void replay_free(struct owner_replay *replay)
{
    for (size_t i = 0; i < replay->count; i++)
        event_unref(&replay->events[i]);
    free(replay->events);
}

static void on_replayed(struct op *op, const redisReply *answer)
{
    struct owner_replay replay = replay_of(op->more, answer);
    op->fn.replay(op->ctx, &replay);
    replay_free(&replay);
    free(op->more);
}

static void drop(struct op *op)
{
    free(op->more);
}

static struct op *replay_new(struct queue *queue, const char *owner, uint64_t after, size_t max,
                             void (*done)(struct op *op, const redisReply *answer))
{
    struct op *op = op_new(queue, FUNCTION("replay"), done);
    size_t size = strlen(owner) + 1;
    struct replay_call *call = xmalloc(sizeof *call + size);
    call->after = after;
    memcpy(call->owner, owner, size);
    op->more = call;
    op->drop = drop;
    words_text(&op->words, owner);
    words_number(&op->words, after);
    words_number(&op->words, max);
    return op;
}

void queue_replay(struct queue *queue, const char *owner, uint64_t after, size_t max, owner_replay_fn *fn,
                  void *ctx)
{
    struct op *op = replay_new(queue, owner, after, max, on_replayed);
    op->fn.replay = fn;
    op->ctx = ctx;
}

/* ---- what a call that failed half-way left behind --------------------------------------------------- */

#define TELL_PAGE 256

static void on_logged(struct op *op, const redisReply *answer)
{
    struct replay_call *call = op->more;
    struct queue *queue = op->queue;
    struct owner_replay replay = replay_of(call, answer);
    for (size_t i = 0; i < replay.count && queue->hooks.on_event; i++)
        queue->hooks.on_event(queue->hooks.ctx, call->owner, replay.events[i]);
    if (replay.more && replay.count)
        queue_tell_logged(queue, call->owner, replay.events[replay.count - 1]->seq);
    replay_free(&replay);
    free(call);
}

void queue_tell_logged(struct queue *queue, const char *owner, uint64_t after)
{
    replay_new(queue, owner, after, TELL_PAGE, on_logged);
}
