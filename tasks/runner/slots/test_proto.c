/* The frames between a worker's parent and its slots, and the gate they share. */
#include "tasks/runner/slots/gate.h"
#include "tasks/runner/slots/proto.h"
#include "tests/lib/tap.h"

#include <unistd.h>

static void test_frames(void)
{
    struct buf to = BUF_INIT;
    struct slot_frame frame;
    size_t used = 0;
    struct slot_task task = {SPAN("id"), SPAN("owner"), SPAN("type"), SPAN("{\"a\":1}"), 3, true}, got;
    slot_put_task(&to, 7, &task);
    slot_frame_empty(&to, SLOT_WAKE, 8);
    for (size_t n = 0; n < SLOT_HEADER_SIZE; n++)
        ok(slot_frame_next((struct span){to.data, n}, 1024, &frame, &used) == 0, "%zu bytes are no frame", n);
    is_int(slot_frame_next(buf_span(&to), 1024, &frame, &used), 1, "a frame");
    is_int(frame.type, SLOT_TASK, "its type");
    is_int(frame.seq, 7, "its number");
    ok(slot_get_task(frame.payload, &got), "a task");
    is_span(got.id, "id", "id");
    is_span(got.owner, "owner", "owner");
    is_span(got.type, "type", "type");
    is_span(got.args, "{\"a\":1}", "args");
    is_int(got.attempt, 3, "attempt");
    ok(got.quick, "quick");
    struct span rest = {to.data + used, to.len - used};
    is_int(slot_frame_next(rest, 1024, &frame, &used), 1, "the frame behind it");
    ok(frame.type == SLOT_WAKE && frame.payload.n == 0, "is the empty one");
    is_int(used, rest.n, "and the last");
    is_int(slot_frame_next(buf_span(&to), 8, &frame, &used), -1, "a frame above the limit is refused");
    to.data[4] = 99;
    is_int(slot_frame_next(buf_span(&to), 1024, &frame, &used), -1, "an unknown type is refused");
    buf_free(&to);
}

/* Every message cut at every place, and with something left over, is refused. */
#define CHECK_CUTS(type, get, whole)                                                                         \
    do {                                                                                                     \
        unsigned bad = 0;                                                                                    \
        struct type scratch;                                                                                 \
        for (size_t n = 0; n < (whole).n; n++)                                                               \
            bad += get((struct span){(whole).p, n}, &scratch);                                               \
        is_int(bad, 0, #type " cut short is refused");                                                       \
        struct buf longer = BUF_INIT;                                                                        \
        buf_append_span(&longer, whole);                                                                     \
        buf_append_char(&longer, 'x');                                                                       \
        ok(!get(buf_span(&longer), &scratch), #type " with a tail is refused");                              \
        ok(get(whole, &scratch), #type " as it was is not");                                                 \
        buf_free(&longer);                                                                                   \
    } while (0)

static struct span payload_of(const struct buf *to)
{
    struct slot_frame frame = {0};
    size_t used;
    is_int(slot_frame_next(buf_span(to), UINT32_MAX, &frame, &used), 1, "one frame");
    return frame.payload;
}

static void test_messages(void)
{
    struct buf to = BUF_INIT;
    slot_put_task(&to, 1, &(struct slot_task){SPAN("i"), SPAN("o"), SPAN("t"), SPAN("{}"), 1, false});
    CHECK_CUTS(slot_task, slot_get_task, payload_of(&to));
    buf_clear(&to);
    slot_put_progress(&to, 1, &(struct slot_progress){50, SPAN("s"), SPAN("m"), SPAN_NONE});
    CHECK_CUTS(slot_progress, slot_get_progress, payload_of(&to));
    buf_clear(&to);
    slot_put_call(&to, 1, &(struct slot_call){9, SPAN("service"), SPAN("{}")});
    CHECK_CUTS(slot_call, slot_get_call, payload_of(&to));
    buf_clear(&to);
    slot_put_answer(&to, 1, &(struct slot_answer){9, SPAN_NONE});
    CHECK_CUTS(slot_answer, slot_get_answer, payload_of(&to));
    buf_clear(&to);
    slot_put_ended(&to, 1, &(struct slot_ended){12, true, true, SPAN_NONE, SPAN("code"), SPAN("error")});
    CHECK_CUTS(slot_ended, slot_get_ended, payload_of(&to));
    struct slot_ended ended;
    ok(slot_get_ended(payload_of(&to), &ended), "an end");
    ok(ended.result.p == NULL && ended.failed && ended.retry && ended.took_us == 12, "comes as it went");
    is_span(ended.code, "code", "with its code");
    buf_free(&to);
}

static void test_lengths_that_lie(void)
{
    struct buf to = BUF_INIT;
    slot_put_u32(&to, 0xfffffffe);
    buf_append_text(&to, "short");
    struct slot_fields from = {buf_span(&to), false};
    struct span text = slot_get_span(&from);
    ok(from.bad && text.p == NULL, "a length beyond the payload is refused");
    is_int(slot_get_u64(&from), 0, "and nothing can be read behind it");
    ok(!slot_fields_end(&from), "the message is bad");
    buf_free(&to);
}

static void test_gate(void)
{
    int fd = slot_gate_create();
    struct slot_gate *gate = slot_gate_map(fd);
    close(fd);
    ok(slot_gate_begin(gate, 0), "the first task begins");
    is_int(slot_gate_begun(gate), 1, "and is known to have begun");
    ok(!slot_gate_begin(gate, 0), "no task begins twice");
    is_int(slot_gate_take_back(gate, 3), 1, "1 and 2 are taken back");
    ok(!slot_gate_begin(gate, 1) && !slot_gate_begin(gate, 2), "they do not begin");
    ok(slot_gate_begin(gate, 3), "the next one does");
    is_int(slot_gate_take_back(gate, 4), 4, "nothing is left to take back");
    is_int(slot_gate_stopped(gate, 3), STOP_NONE, "nobody stops it");
    slot_gate_stop(gate, 3, STOP_CANCEL);
    is_int(slot_gate_stopped(gate, 3), STOP_CANCEL, "a task is stopped");
    is_int(slot_gate_stopped(gate, 4), STOP_NONE, "the one behind it is not");
    slot_gate_unmap(&gate);
    ok(gate == NULL, "unmapped");
}

int main(void)
{
    test_frames();
    test_messages();
    test_lengths_that_lie();
    test_gate();
    return done_testing();
}
