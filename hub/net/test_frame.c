/* hub/net/frame.c: headers of all three lengths, close frames. */
#include "hub/net/frame.h"
#include "tests/lib/tap.h"

static void test_size(size_t size, size_t head)
{
    struct buf buf = BUF_INIT;
    frame_begin(&buf, FRAME_TEXT, size);
    is_int(buf.len, head, "header of %zu bytes", size);
    is_int((unsigned char)buf.data[0], 0x81, "final text frame");
    is_int((unsigned char)buf.data[1] & 0x80, 0, "without a mask");
    is_int(frame_size(buf_span(&buf)), head + size, "and its whole size");
    buf_free(&buf);
}

int main(void)
{
    static const struct {
        size_t size, head;
    } rows[] = {{0, 2}, {1, 2}, {125, 2}, {126, 4}, {65535, 4}, {65536, 10}, {1 << 20, 10}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        test_size(rows[i].size, rows[i].head);

    struct buf buf = BUF_INIT;
    frame_close(&buf, 4408, "late");
    is_int(buf.len, 8, "a close frame");
    ok(memcmp(buf.data, "\x88\x06\x11\x38late", 8) == 0, "carries code and reason");
    buf_clear(&buf);
    char reason[200];
    memset(reason, 'x', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    frame_close(&buf, 1000, reason);
    is_int(buf.len, 2 + 125, "a long reason is cut to what a control frame may hold");
    buf_free(&buf);
    return done_testing();
}
