/* SPDX-License-Identifier: MIT */
/* hub/base/frame.c: what a client's bytes mean, however they are cut, and heads of a server's frames. */
#include "hub/base/frame.h"

#include "hub/base/buf.h"
#include "tests/lib/tap.h"

#define MASK "\x37\xfa\x21\x3d"

/* Appends a masked frame; `first`: its first byte. */
static void put(struct buf *to, unsigned first, struct span payload)
{
    char head[FRAME_HEAD_MAX];
    size_t n = frame_head(head, FRAME_TEXT, payload.n);
    head[0] = (char)first;
    head[1] = (char)(head[1] | 0x80);
    buf_append(to, head, n);
    buf_append(to, MASK, 4);
    for (size_t i = 0; i < payload.n; i++)
        buf_append_char(to, (char)(payload.p[i] ^ MASK[i % 4]));
}

/* Reads what comes in pieces of `step` bytes, the last of them up to the end, and writes what it was: a
 * letter per kind, and the payload of messages joined. */
static void read_all(struct buf *out, struct span all, size_t first, size_t step)
{
    static const char letters[FRAME_WHATS] = {
        [FRAME_PINGED] = 'P', [FRAME_PONGED] = 'Q', [FRAME_CLOSED] = 'C'};
    struct frame_reader reader = {.left = 0};
    struct buf held = BUF_INIT;
    struct frame frame;
    size_t most = 0;
    for (size_t at = 0, n = first ? first : step; at < all.n; at += n, n = step) {
        if (n > all.n - at)
            n = all.n - at;
        buf_append(&held, all.p + at, n);
        for (;;) {
            size_t used = frame_read(&reader, held.data, held.len, &frame);
            if (frame.what == FRAME_MORE || frame.what == FRAME_WRONG) {
                buf_consume(&held, used);
                break;
            }
            if (frame.what != FRAME_PIECE)
                buf_append_char(out, letters[frame.what]);
            buf_append_span(out, frame.data);
            if (frame.what == FRAME_CLOSED)
                buf_printf(out, "%u", frame.code);
            if (frame.what != FRAME_PIECE || frame.final)
                buf_append_text(out, frame.binary ? "#" : ".");
            buf_consume(&held, used);
        }
        most = held.len > most ? held.len : most;
        if (frame.what == FRAME_WRONG) {
            buf_printf(out, "W%u", frame.code);
            break;
        }
    }
    if (frame.what != FRAME_WRONG && most > FRAME_KEPT_MAX)
        buf_append_text(out, "kept too much");
    buf_free(&held);
}

/* The same bytes mean the same, cut once at each place, and byte by byte. */
static void is_read(struct span all, const char *want, const char *name)
{
    struct buf out = BUF_INIT;
    size_t wrong = 0;
    read_all(&out, all, 0, all.n);
    is_span(buf_span(&out), want, "%s", name);
    for (size_t cut = 0; cut < all.n; cut++) {
        buf_clear(&out);
        read_all(&out, all, cut, cut ? all.n : 1);
        wrong += !span_is(buf_span(&out), want);
    }
    is_int(wrong, 0, "%s: wherever it is cut", name);
    buf_free(&out);
}

static const char long_text[] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    "0123456789abcdef0123456789abcde";

static void test_messages(void)
{
    struct buf all = BUF_INIT;
    put(&all, 0x81, SPAN("hello"));
    put(&all, 0x81, SPAN(""));
    put(&all, 0x82, SPAN("\x01\x02\x03\x04\x05\x06\x07\x08\x09"));
    put(&all, 0x01, SPAN("one "));
    put(&all, 0x89, SPAN("ping"));
    put(&all, 0x00, SPAN(""));
    put(&all, 0x8a, SPAN(""));
    put(&all, 0x80, SPAN("two"));
    put(&all, 0x88, SPAN("\x03\xe8why"));
    is_read(buf_span(&all), "hello..\x01\x02\x03\x04\x05\x06\x07\x08\x09#one Pping.Q.two.C\x03\xe8why1000.",
            "messages and control frames");
    buf_free(&all);
    put(&all, 0x89, (struct span){long_text, 125});
    put(&all, 0x81, (struct span){long_text, 126});
    struct buf want = BUF_INIT;
    buf_printf(&want, "P%.125s.%.126s.", long_text, long_text);
    char *text = buf_take_string(&want);
    is_read(buf_span(&all), text, "the longest control frame and a length of 16 bits");
    free(text);
    buf_free(&all);
    put(&all, 0x88, SPAN(""));
    is_read(buf_span(&all), "C1000.", "a close frame without a code");
    buf_free(&all);
}

static void test_long_message(void)
{
    struct buf all = BUF_INIT, payload = BUF_INIT;
    struct frame_reader reader = {.left = 0};
    struct frame frame;
    for (size_t i = 0; i < 70000; i++)
        buf_append_char(&payload, (char)('a' + i % 26));
    put(&all, 0x82, buf_span(&payload));
    is_int(frame_read(&reader, all.data, 5000, &frame), 5000, "the first piece is used");
    ok(!frame.final && frame.binary && frame.left == 70000 - 5000 + 14, "and says what is left");
    is_int(frame_read(&reader, all.data + 5000, all.len - 5000, &frame), all.len - 5000, "the second, too");
    ok(frame.final && frame.left == 0, "and is the last");
    ok(memcmp(all.data + 14, payload.data, payload.len) == 0, "the mask goes on between pieces");
    buf_free(&all);
    buf_free(&payload);
}

static void test_faults(void)
{
    const struct {
        struct span bytes;
        const char *want, *name;
    } rows[] = {
        {SPAN("\x81\x01x"), "W1002", "no mask"},
        {SPAN("\x89\x00"), "W1002", "a ping without a mask"},
        {SPAN("\xc1\x80" MASK), "W1002", "RSV1"},
        {SPAN("\xa1\x80" MASK), "W1002", "RSV2"},
        {SPAN("\x99\x80" MASK), "W1002", "RSV3"},
        {SPAN("\x83\x80" MASK), "W1002", "opcode 3"},
        {SPAN("\x8b\x80" MASK), "W1002", "opcode 11"},
        {SPAN("\x80\x80" MASK), "W1002", "a continuation of nothing"},
        {SPAN("\x01\x80" MASK "\x81\x80" MASK), "W1002", "a message inside another"},
        {SPAN("\x01\x80" MASK "\x80\x80" MASK "\x80\x80" MASK), ".W1002", "one end too many"},
        {SPAN("\x09\x80" MASK), "W1002", "a ping that is not final"},
        {SPAN("\x89\xfe\x00\x7e" MASK), "W1002", "a ping of 126 bytes"},
        {SPAN("\x81\xfe\x00\x7d" MASK), "W1002", "16 bits for 125"},
        {SPAN("\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff" MASK), "W1002", "64 bits for 65535"},
        {SPAN("\x81\xff\x80\x00\x00\x00\x00\x01\x00\x00" MASK), "W1002", "the top bit of a length"},
        {SPAN("\x88\x81\0\0\0\0\x03"), "W1002", "half a close code"},
        {SPAN("\x88\x82\0\0\0\0\x03\xed"), "W1002", "close code 1005"},
        {SPAN("\x88\x82\0\0\0\0\x03\xf7"), "W1002", "close code 1015"},
        {SPAN("\x88\x82\0\0\0\0\x0b\xb7"), "W1002", "close code 2999"},
        {SPAN("\x88\x83\0\0\0\0\x03\xe8\xff"), "W1007", "a reason that is not UTF-8"},
    };
    for (size_t i = 0; i < NELEMS(rows); i++)
        is_read(rows[i].bytes, rows[i].want, rows[i].name);
}

static void test_heads(void)
{
    static const struct {
        size_t size, head;
    } rows[] = {{0, 2}, {125, 2}, {126, 4}, {65535, 4}, {65536, 10}, {1u << 24, 10}};
    char head[FRAME_HEAD_MAX];
    for (size_t i = 0; i < NELEMS(rows); i++) {
        is_int(frame_head(head, FRAME_BINARY, rows[i].size), rows[i].head, "a head for %zu bytes",
               rows[i].size);
        ok((unsigned char)head[0] == 0x82 && (head[1] & 0x80) == 0, "final, without a mask");
        is_int(frame_size((struct span){head, rows[i].head}), rows[i].head + rows[i].size, "and read again");
    }
}

int main(void)
{
    test_messages();
    test_long_message();
    test_faults();
    test_heads();
    return done_testing();
}
