/* SPDX-License-Identifier: MIT */
/* The frames between a worker's parent and its slots, and the gate they share. */
#include "tasks/runner/slots/gate.h"
#include "tasks/runner/slots/proto.h"
#include "tests/lib/tap.h"

#include <unistd.h>

static const struct span long_text = {"a\0b\xff", 4};

/* Whether every part of the type is received as it was sent. */
static bool is_same(const struct slot_frame *went, const struct slot_frame *came)
{
    struct buf a = BUF_INIT, b = BUF_INIT;
    slot_put(&a, went);
    slot_put(&b, came);
    bool same = a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
    buf_free(&a);
    buf_free(&b);
    return same;
}

/* The frame with a header that says `size` bytes follow. */
static int next_resized(const struct buf *whole, uint32_t size)
{
    struct buf other = BUF_INIT;
    struct slot_frame frame;
    size_t used;
    buf_append(&other, whole->data,
               whole->len < SLOT_HEADER_SIZE + size ? whole->len : SLOT_HEADER_SIZE + size);
    while (other.len < SLOT_HEADER_SIZE + size)
        buf_append_char(&other, '\0');
    memcpy(other.data, &size, sizeof size);
    int rc = slot_next(buf_span(&other), 4096, &frame, &used);
    buf_free(&other);
    return rc;
}

static void test_every_type(void)
{
    for (unsigned type = SLOT_HELLO; type <= SLOT_ENDED; type++) {
        struct slot_frame went = {.type = type,
                                  .seq = 7,
                                  .number = {1, UINT64_MAX, 3},
                                  .text = {long_text, SPAN(""), SPAN_NONE, SPAN("{}")}},
                          came = {0};
        struct buf bytes = BUF_INIT;
        size_t used = 0;
        unsigned early = 0, cut = 0;
        slot_put(&bytes, &went);
        is_int(slot_next(buf_span(&bytes), 4096, &came, &used), 1, "a frame of type %u", type);
        ok(used == bytes.len && is_same(&went, &came), "comes as it went");
        for (size_t n = 0; n < bytes.len; n++)
            early += slot_next((struct span){bytes.data, n}, 4096, &came, &used) != 0;
        for (uint32_t size = 0; size < bytes.len - SLOT_HEADER_SIZE; size++)
            cut += next_resized(&bytes, size) != -1;
        is_int(early, 0, "more bytes are awaited");
        is_int(cut, 0, "a cut one is refused");
        is_int(next_resized(&bytes, (uint32_t)bytes.len - SLOT_HEADER_SIZE + 1), -1, "one with a tail, too");
        buf_free(&bytes);
    }
}

static void test_bad_headers(void)
{
    struct buf to = BUF_INIT;
    struct slot_frame frame;
    size_t used;
    SLOT_PUT(&to, .type = SLOT_TAKEN, .seq = 1, .number = {5});
    is_int(slot_next(buf_span(&to), 4, &frame, &used), -1, "a frame above the limit is refused");
    to.data[4] = 99;
    is_int(slot_next(buf_span(&to), 1024, &frame, &used), -1, "an unknown type is refused");
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
    test_every_type();
    test_bad_headers();
    test_gate();
    return done_testing();
}
