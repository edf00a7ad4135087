/* SPDX-License-Identifier: MIT */
/* The outbox of a connection; see outbox.h. Loop thread only. */
#include "hub/net/outbox.h"
#include "hub/base/frame.h"
#include "hub/base/metrics.h"

#include <stdio.h>

/* Appends the head of a frame with `size` payload bytes, which the caller appends next. */
static void frame_begin(struct buf *to, enum frame_opcode opcode, size_t size)
{
    to->len += frame_head(buf_reserve(to, FRAME_HEAD_MAX + size), opcode, size);
}

/* Appends a close frame; `reason` is cut at 123 bytes. */
static void frame_close(struct buf *to, unsigned code, const char *reason)
{
    size_t n = strnlen(reason, 123);
    const char both[2] = {(char)(code >> 8), (char)code};
    frame_begin(to, FRAME_CLOSE, 2 + n);
    buf_append(to, both, 2);
    buf_append(to, reason, n);
}

/* ---- what waits ------------------------------------------------------------------------------------- */
struct item {
    struct list node;
    struct event *event; /* else … */
    uint64_t skip;       /* else … */
    bool droppable;      /* … a text or close frame */
    enum frame_opcode opcode;
    size_t size;
    char data[];
};

static struct item *item_of(struct list *node)
{
    return container_of(node, struct item, node);
}

static size_t cost_of(const struct item *item)
{
    return sizeof *item + item->size + (item->event ? item->event->size : 0);
}

static bool backlogged(const struct outbox *outbox)
{
    return outbox->blocked || outbox->items;
}

size_t outbox_waiting(const struct outbox *outbox)
{
    return outbox->out.len - outbox->at + outbox->in_flight + outbox->item_bytes;
}

/* ---- payloads ------------------------------------------------------------------------------------ */
static void count_out(size_t n)
{
    metric_add(METRIC_FRAMES_OUT, 1);
    metric_add(METRIC_BYTES_OUT, n);
}

static void frame_text(struct outbox *outbox, enum frame_opcode opcode, struct span text)
{
    frame_begin(&outbox->out, opcode, text.n);
    buf_append_span(&outbox->out, text);
    count_out(text.n);
}

static size_t put_number(char *to, uint64_t value)
{
    char digits[20];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    for (size_t i = 0; i < n; i++)
        to[i] = digits[n - 1 - i];
    return n;
}

static size_t put_text(char *to, const char *text)
{
    size_t n = strlen(text);
    memcpy(to, text, n);
    return n;
}

/* {"jsonrpc":"2.0","method":"task.event","params":{"seq":N,"from":M, + the body without its brace + } */
static void frame_event(struct outbox *outbox, const struct event *event)
{
    char head[160];
    bool note = event->type->code == 'N';
    size_t n = put_text(head, note ? "{\"jsonrpc\":\"2.0\",\"method\":\"notification\",\"params\":{"
                                   : "{\"jsonrpc\":\"2.0\",\"method\":\"task.event\",\"params\":{");
    n += put_text(head + n, event->seq ? "\"seq\":" : "\"rev\":");
    n += put_number(head + n, event->seq ? event->seq : event->rev);
    if (event->seq && outbox->begun && outbox->given != event->seq - 1) {
        n += put_text(head + n, ",\"from\":");
        n += put_number(head + n, outbox->given);
    }
    head[n++] = ',';
    if (event->seq) {
        outbox->given = event->seq;
        outbox->begun = true;
    }
    size_t size = n + event->size; /* the body's brace goes, the closing one of the envelope comes */
    frame_begin(&outbox->out, FRAME_TEXT, size);
    buf_append(&outbox->out, head, n);
    buf_append(&outbox->out, event->body + 1, event->size - 1);
    buf_append_char(&outbox->out, '}');
    count_out(size);
}

static void set_given(struct outbox *outbox, uint64_t seq)
{
    if (!outbox->begun || seq > outbox->given)
        outbox->given = seq;
    outbox->begun = true;
}

/* ---- the backlog --------------------------------------------------------------------------------- */
static void append(struct outbox *outbox, const struct item *head, struct span data)
{
    struct item *item = xmalloc(sizeof *item + data.n);
    if (outbox->items == NULL) {
        outbox->items = xmalloc(sizeof *outbox->items);
        list_init(outbox->items);
    }
    *item = *head;
    item->size = data.n;
    memcpy(item->data, data.n ? data.p : "", data.n);
    list_append(outbox->items, &item->node);
    outbox->item_bytes += cost_of(item);
}

static void drop(struct outbox *outbox, struct item *item)
{
    outbox->item_bytes -= cost_of(item);
    list_remove(&item->node);
    event_unref(&item->event);
    free(item);
    if (list_empty(outbox->items)) {
        free(outbox->items);
        outbox->items = NULL;
    }
}

static bool is_class(const struct item *item, enum event_class class)
{
    if (item->event)
        return item->event->type->class == class;
    return class == EVENT_BOUNDED && item->droppable;
}

/* Drops the oldest of a class; false if there is none. */
static bool drop_oldest(struct outbox *outbox, enum event_class class)
{
    if (outbox->items == NULL)
        return false;
    list_for_each (node, outbox->items) {
        if (!is_class(item_of(node), class))
            continue;
        drop(outbox, item_of(node));
        metric_add(METRIC_EVENTS_DROPPED, 1);
        return true;
    }
    return false;
}

/* Makes room for `size` more bytes in the backlog by dropping what may be dropped. */
static bool make_room(struct outbox *outbox, size_t size, size_t limit)
{
    while (outbox->item_bytes + size > limit)
        if (!drop_oldest(outbox, EVENT_BOUNDED) && !drop_oldest(outbox, EVENT_LATEST))
            return false;
    return true;
}

/* Whether a new thing may wait; what must be delivered may go over the budget once. */
static enum outbox_put admit(struct outbox *outbox, const struct outbox_message *message, size_t budget)
{
    const struct event *event = message->event;
    size_t limit = budget / 2;
    if (make_room(outbox, sizeof(struct item) + (event ? event->size : message->text.n), limit))
        return OUTBOX_TAKEN;
    if (event ? event->type->class != EVENT_MUST : message->droppable) {
        metric_add(METRIC_EVENTS_DROPPED, 1);
        return OUTBOX_DROPPED;
    }
    return outbox->item_bytes < limit ? OUTBOX_TAKEN : OUTBOX_FULL;
}

/* Takes the event of the same task and type that a newer one replaces out of the backlog. */
static bool replace_latest(struct outbox *outbox, struct event *event)
{
    if (outbox->items == NULL)
        return false;
    for (struct list *at = outbox->items->prev; at != outbox->items; at = at->prev) {
        struct item *item = item_of(at);
        if (item->event == NULL || memcmp(item->event->task_id, event->task_id, ID_SIZE) != 0)
            continue;
        if (item->event->type->class != EVENT_LATEST)
            return false; /* a step of the task stands between: the newer one goes behind it */
        if (item->event->type != event->type)
            continue;
        outbox->item_bytes -= cost_of(item);
        event_unref(&item->event);
        item->event = event_ref(event);
        outbox->item_bytes += cost_of(item);
        metric_add(METRIC_EVENTS_COALESCED, 1);
        return true;
    }
    return false;
}

static void frame_message(struct outbox *outbox, const struct outbox_message *message)
{
    if (message->event)
        frame_event(outbox, message->event);
    else
        frame_text(outbox, FRAME_TEXT, message->text);
}

enum outbox_put outbox_put(struct outbox *outbox, const struct outbox_message *message, size_t budget)
{
    struct event *event = message->event;
    if (!backlogged(outbox)) {
        if (outbox_waiting(outbox) >= outbox_chunk(budget))
            return OUTBOX_FULL;
        frame_message(outbox, message);
        return OUTBOX_TAKEN;
    }
    if (event && event->type->class == EVENT_LATEST && replace_latest(outbox, event))
        return OUTBOX_TAKEN;
    enum outbox_put put = admit(outbox, message, budget);
    if (put == OUTBOX_TAKEN)
        append(outbox,
               &(struct item){.event = event ? event_ref(event) : NULL,
                              .droppable = message->droppable,
                              .opcode = FRAME_TEXT},
               event ? SPAN_NONE : message->text);
    return put;
}

void outbox_skip(struct outbox *outbox, uint64_t seq)
{
    if (outbox->items)
        append(outbox, &(struct item){.skip = seq}, SPAN_NONE);
    else
        set_given(outbox, seq);
}

void outbox_ping(struct outbox *outbox)
{
    frame_begin(&outbox->out, FRAME_PING, 1);
    buf_append_char(&outbox->out, 'p');
}

void outbox_close(struct outbox *outbox, unsigned code, const char *reason, bool discard)
{
    if (discard) {
        while (outbox->items)
            drop(outbox, item_of(outbox->items->next));
        outbox->out.len = outbox->at;
    }
    if (outbox->items == NULL) {
        frame_close(&outbox->out, code, reason);
        return;
    }
    struct buf frame = BUF_INIT;
    frame_close(&frame, code, reason);
    append(outbox, &(struct item){.opcode = FRAME_CLOSE}, (struct span){frame.data + 2, frame.len - 2});
    buf_free(&frame);
}

/* ---- leaving -------------------------------------------------------------------------------------- */
/* Frames a part of the backlog. */
static void frame_backlog(struct outbox *outbox, size_t chunk)
{
    while (outbox->items && outbox->out.len - outbox->at < chunk) {
        struct item *item = item_of(outbox->items->next);
        if (item->event)
            frame_event(outbox, item->event);
        else if (item->skip)
            set_given(outbox, item->skip);
        else
            frame_text(outbox, item->opcode, (struct span){item->data, item->size});
        drop(outbox, item);
    }
}

struct span outbox_next(struct outbox *outbox, size_t max)
{
    if (outbox->at == outbox->out.len)
        frame_backlog(outbox, max);
    size_t end = outbox->at;
    const char *data = outbox->out.data;
    if (outbox->out.len - end <= max) {
        end = outbox->out.len;
    } else {
        while (end < outbox->out.len) {
            size_t next = end + frame_size((struct span){data + end, outbox->out.len - end});
            if (next - outbox->at > max && end > outbox->at)
                break;
            end = next;
        }
    }
    return (struct span){data ? data + outbox->at : "", end - outbox->at};
}

void outbox_sent(struct outbox *outbox, size_t n, bool partial)
{
    outbox->at += n;
    if (outbox->at == outbox->out.len) {
        buf_clear(&outbox->out);
        outbox->at = 0;
    }
    outbox->blocked = partial;
    outbox->in_flight = partial ? n : 0;
}

void outbox_drained(struct outbox *outbox)
{
    outbox->blocked = false;
    outbox->in_flight = 0;
}

void outbox_free(struct outbox *outbox)
{
    while (outbox->items)
        drop(outbox, item_of(outbox->items->next));
    buf_free(&outbox->out);
    outbox->at = outbox->in_flight = 0;
}
