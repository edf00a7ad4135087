/* SPDX-License-Identifier: MIT */
/* Frames of a client: whatever comes, and however it is cut, means the same; each byte is used once. The
 * first byte of the input says where it is cut. */
#include "hub/base/buf.h"
#include "hub/base/frame.h"
#include "hub/base/utf8.h"
#include "tests/fuzz/fuzz.h"

/* Appends to `out` what has been read; messages without the places where they were cut. */
static void tell(struct buf *out, const struct frame *frame)
{
    HOLDS(frame->what != FRAME_WRONG || ((frame->code == 1002 || frame->code == 1007) && frame->reason));
    HOLDS(frame->what == FRAME_PIECE || (frame->data.n <= 125 && frame->left == 0));
    HOLDS(!frame->final || frame->left == 0);
    if (frame->what != FRAME_PIECE)
        buf_printf(out, "<%d %u>", (int)frame->what, frame->code);
    buf_append_span(out, frame->data);
    if (frame->final)
        buf_append_text(out, frame->binary ? "#" : ".");
    if (frame->what == FRAME_CLOSED && frame->data.n > 2)
        HOLDS(utf8_valid(span_from(frame->data, 2)));
}

static void read_all(struct buf *out, const uint8_t *data, size_t size, size_t step)
{
    struct frame_reader reader = {.left = 0};
    struct frame frame = {.what = FRAME_MORE};
    struct buf held = BUF_INIT;
    for (size_t at = 0; at < size && frame.what != FRAME_WRONG; at += step) {
        buf_append(&held, data + at, step < size - at ? step : size - at);
        for (;;) {
            size_t used = frame_read(&reader, held.data, held.len, &frame);
            HOLDS(used <= held.len);
            HOLDS(frame.data.n == 0 ||
                  (frame.data.p >= held.data && frame.data.p + frame.data.n <= held.data + used));
            if (frame.what != FRAME_MORE)
                tell(out, &frame);
            buf_consume(&held, used);
            if (frame.what == FRAME_MORE || frame.what == FRAME_WRONG)
                break;
        }
        HOLDS(frame.what == FRAME_WRONG || held.len <= FRAME_KEPT_MAX);
    }
    buf_free(&held);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_INIT, parts = BUF_INIT;
    size_t step = size && data[0] ? data[0] : 1;
    if (size < 2)
        return 0;
    read_all(&whole, data + 1, size - 1, size);
    read_all(&parts, data + 1, size - 1, step);
    HOLDS(span_equal(buf_span(&whole), buf_span(&parts)));
    buf_free(&whole);
    buf_free(&parts);
    return 0;
}
