/* SPDX-License-Identifier: MIT */
/* hub/net/outbox.c: frames, seq and from, whole frames per write, and what back-pressure does to the three
 * classes of events. */
#include "hub/base/metrics.h"
#include "hub/net/outbox.h"
#include "tests/lib/tap.h"

#define BUDGET 4096
#define TASK_A "01980000-0000-7000-8000-00000000000a"
#define TASK_B "01980000-0000-7000-8000-00000000000b"

static struct event *event_of(char code, uint64_t number, const char *task)
{
    struct event *event = event_new(code, 0, 0, 1, span_of(task), SPAN("{\"a\":1}"));
    if (event->type->class == EVENT_LATEST)
        event->rev = number;
    else
        event->seq = number;
    return event;
}

static enum outbox_put put(struct outbox *box, char code, uint64_t number, const char *task)
{
    struct event *event = event_of(code, number, task);
    enum outbox_put result = outbox_put(box, &(struct outbox_message){.event = event}, BUDGET);
    event_unref(&event);
    return result;
}

static enum outbox_put put_text(struct outbox *box, struct span text, bool droppable, size_t budget)
{
    return outbox_put(box, &(struct outbox_message){.text = text, .droppable = droppable}, budget);
}

/* Bytes of the frame that `data` begins with; *ret_head: those of its header. */
static size_t frame_at(struct span data, size_t *ret_head)
{
    const unsigned char *head = (const unsigned char *)data.p;
    static const unsigned extra[] = {[126] = 2, [127] = 8};
    unsigned more = head[1] < 126 ? 0 : extra[head[1]];
    uint64_t size = more ? 0 : head[1];
    for (unsigned i = 0; i < more; i++)
        size = size << 8 | head[2 + i];
    *ret_head = 2 + more;
    return *ret_head + size;
}

/* Takes everything out as the text of its frames, one line each; control frames as their opcode. */
static const char *drain(struct outbox *box)
{
    static char text[65536];
    size_t n = 0;
    text[0] = '\0';
    for (struct span next; (next = outbox_next(box, 1 << 20)).n;) {
        for (size_t at = 0; at < next.n;) {
            struct span rest = {next.p + at, next.n - at};
            size_t head, size = frame_at(rest, &head);
            if ((rest.p[0] & 15) == 1)
                n += (size_t)snprintf(text + n, sizeof text - n, "%.*s\n", (int)(size - head), rest.p + head);
            else
                n += (size_t)snprintf(text + n, sizeof text - n, "op%d\n", rest.p[0] & 15);
            at += size;
        }
        outbox_sent(box, next.n, false);
    }
    return text;
}

#define EVENT(members) "{\"jsonrpc\":\"2.0\",\"method\":\"task.event\",\"params\":{" members ",\"a\":1}}\n"

static void test_frame(size_t size, size_t want_head)
{
    struct outbox box = {.at = 0};
    char *text = xcalloc(1, size + 1);
    put_text(&box, (struct span){text, size}, false, BUDGET);
    struct span frame = outbox_next(&box, 1 << 30);
    size_t head = 0;
    is_int(frame.n, want_head + size, "a text of %zu bytes is one frame", size);
    is_int((unsigned char)frame.p[0], 0x81, "final, of text");
    is_int(frame_at(frame, &head), frame.n, "which says its size, without a mask");
    put_text(&box, SPAN("x"), false, 1 << 30);
    is_int(outbox_next(&box, 1).n, frame.n, "and is found again in front of another");
    free(text);
    outbox_free(&box);
}

static void test_frames(void)
{
    static const size_t rows[][2] = {{0, 2},     {1, 2},      {125, 2},     {126, 4},
                                     {65535, 4}, {65536, 10}, {1 << 20, 10}};
    for (size_t i = 0; i < NELEMS(rows); i++)
        test_frame(rows[i][0], rows[i][1]);

    struct outbox box = {.at = 0};
    char reason[200];
    outbox_close(&box, 4408, "late", false);
    struct span frame = outbox_next(&box, 1000);
    ok(frame.n == 8 && memcmp(frame.p, "\x88\x06\x11\x38late", 8) == 0, "a close frame has code and reason");
    outbox_free(&box);
    memset(reason, 'x', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    outbox_close(&box, 1000, reason, false);
    is_int(outbox_next(&box, 1000).n, 2 + 125, "a long reason is cut to what a control frame may hold");
    outbox_free(&box);
}

static void test_framing(void)
{
    struct outbox box = {.at = 0};
    outbox_skip(&box, 40);
    put(&box, 'A', 41, TASK_A);
    put(&box, 'P', 7, TASK_A);
    put(&box, 'N', 42, "");
    put_text(&box, SPAN("reply"), false, BUDGET);
    outbox_skip(&box, 43);
    put(&box, 'C', 44, TASK_A);
    put(&box, 'C', 46, TASK_B);
    is_text(drain(&box),
            EVENT("\"seq\":41")
                EVENT("\"rev\":7") "{\"jsonrpc\":\"2.0\",\"method\":\"notification\",\"params\":"
                                   "{\"seq\":42,\"a\":1}}\nreply\n" EVENT("\"seq\":44")
                                       EVENT("\"seq\":46,\"from\":44"),
            "seq, rev, and from where an event is missing");
    is_int(box.given, 46, "what was given");
    outbox_free(&box);
}

static void test_whole_frames(void)
{
    struct outbox box = {.at = 0};
    char text[100];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 10; i++)
        put_text(&box, (struct span){text, sizeof text}, false, BUDGET);
    is_int(outbox_next(&box, 250).n, 204, "as many whole frames as fit");
    outbox_sent(&box, 204, false);
    is_int(outbox_next(&box, 50).n, 102, "but at least one");
    outbox_sent(&box, 102, true);
    is_int(outbox_waiting(&box), 10 * 102 - 204, "a partial write still waits");
    outbox_drained(&box);
    is_int(outbox_next(&box, 1 << 20).n, 7 * 102, "then the rest");
    struct outbox bulk = {.at = 0};
    int taken = 0;
    while (put_text(&bulk, (struct span){text, sizeof text}, false, BUDGET) == OUTBOX_TAKEN)
        taken++;
    is_int(taken, BUDGET / 4 / 102 + 1, "a complete chunk wants to be written before more comes");
    outbox_free(&bulk);
    outbox_free(&box);
}

/* A box whose socket takes nothing more. */
static struct outbox blocked_box(void)
{
    struct outbox box = {.at = 0};
    outbox_skip(&box, 0);
    put_text(&box, SPAN("first"), false, BUDGET);
    outbox_next(&box, 100);
    outbox_sent(&box, 7, true);
    return box;
}

static void test_backlog_order(void)
{
    struct outbox box = blocked_box();
    put(&box, 'A', 1, TASK_A);
    put(&box, 'P', 1, TASK_A);
    put_text(&box, SPAN("reply"), false, BUDGET);
    outbox_skip(&box, 2);
    put(&box, 'P', 1, TASK_B);
    put(&box, 'P', 2, TASK_A);
    put(&box, 'S', 3, TASK_A);
    put(&box, 'P', 3, TASK_A);
    put(&box, 'P', 4, TASK_A);
    put(&box, 'p', 5, TASK_A);
    outbox_drained(&box);
    is_text(drain(&box),
            EVENT("\"seq\":1") EVENT("\"rev\":2") "reply\n" EVENT("\"rev\":1") EVENT("\"seq\":3")
                EVENT("\"rev\":4") EVENT("\"rev\":5"),
            "order is kept, the latest replaces in place, never ahead of a step of its task");
    ok(box.items == NULL && box.item_bytes == 0, "nothing is left");
    outbox_free(&box);
}

static void test_dropping(void)
{
    struct outbox box = blocked_box();
    uint64_t seq = 1;
    metrics[METRIC_EVENTS_DROPPED] = 0;
    put(&box, 'A', seq++, TASK_A);
    while (metrics[METRIC_EVENTS_DROPPED] < 3)
        put(&box, 'L', seq++, TASK_A);
    uint64_t last = seq - 1;
    put(&box, 'C', seq++, TASK_A);
    ok(outbox_waiting(&box) <= BUDGET, "the backlog stays within its budget");
    outbox_drained(&box);
    const char *text = drain(&box);
    ok(strstr(text, EVENT("\"seq\":1")) == text, "must-deliver events stay");
    ok(strstr(text, "\"seq\":2,") == NULL && strstr(text, "\"seq\":3,") == NULL,
       "the oldest bounded ones go");
    ok(strstr(text, ",\"from\":1,") != NULL, "the next one says what it follows");
    char want[64];
    snprintf(want, sizeof want, "\"seq\":%d,\"a\"", (int)last);
    ok(strstr(text, want) != NULL, "the newest bounded one is there");
    outbox_free(&box);
}

static void test_full(void)
{
    struct outbox box = blocked_box();
    int taken = 0;
    while (put(&box, 'C', (uint64_t)taken + 1, TASK_A) == OUTBOX_TAKEN && taken < 1000)
        taken++;
    ok(taken > 10 && taken < 100, "must-deliver events are refused when they alone use up the budget");
    is_int(put(&box, 'L', 2000, TASK_A), OUTBOX_DROPPED, "a bounded one is dropped then");
    is_int(put(&box, 'P', 1, TASK_A), OUTBOX_DROPPED, "progress too");
    is_int(put_text(&box, SPAN("x"), true, BUDGET), OUTBOX_DROPPED, "and a droppable text");
    is_int(put_text(&box, SPAN("x"), false, BUDGET), OUTBOX_FULL, "a reply is refused");
    outbox_close(&box, 4101, "too slow", true);
    outbox_drained(&box);
    is_text(drain(&box), "op8\n", "the close frame takes the place of everything");

    outbox_free(&box);
    box = blocked_box();
    put_text(&box, SPAN("reply"), false, BUDGET);
    outbox_close(&box, 1000, "bye", false);
    outbox_drained(&box);
    is_text(drain(&box), "reply\nop8\n", "or stands behind it");

    struct outbox fresh = {.at = 0};
    char large[3 * BUDGET];
    memset(large, 'x', sizeof large);
    is_int(put_text(&fresh, (struct span){large, sizeof large}, false, BUDGET), OUTBOX_TAKEN,
           "one text larger than the budget passes");
    is_int(put_text(&fresh, SPAN("x"), false, BUDGET), OUTBOX_FULL, "a second one wants a flush first");
    outbox_free(&fresh);
    put_text(&fresh, SPAN("reply"), false, BUDGET);
    outbox_ping(&fresh);
    is_text(drain(&fresh), "reply\nop9\n", "a ping goes behind what waits: who reads slowly is asked, too");
    outbox_free(&fresh);
    outbox_free(&box);
}

int main(void)
{
    test_frames();
    test_framing();
    test_whole_frames();
    test_backlog_order();
    test_dropping();
    test_full();
    return done_testing();
}
