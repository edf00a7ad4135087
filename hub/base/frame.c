/* SPDX-License-Identifier: MIT */
/* WebSocket frames; see frame.h. */
#include "hub/base/frame.h"

#include "hub/base/utf8.h"

#define FINAL 0x80
#define RESERVED 0x70
#define OPCODE 0x0f
#define CONTROL 0x08
#define MASKED 0x80
#define LENGTH 0x7f
#define CONTROL_MAX 125

/* ---- out ------------------------------------------------------------------------------------------- */
size_t frame_head(char to[static FRAME_HEAD_MAX], enum frame_opcode opcode, size_t size)
{
    unsigned bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;
    to[0] = (char)(FINAL | opcode);
    to[1] = (char)(bytes == 0 ? size : bytes == 2 ? 126 : 127);
    for (unsigned i = 0; i < bytes; i++)
        to[2 + i] = (char)((uint64_t)size >> 8 * (bytes - 1 - i));
    return 2 + bytes;
}

/* Bytes of the length behind the first two of a head. */
static size_t length_bytes(unsigned char second)
{
    unsigned n = second & LENGTH;
    return n < 126 ? 0 : n == 126 ? 2 : 8;
}

static uint64_t length_of(const unsigned char *head)
{
    size_t bytes = length_bytes(head[1]);
    uint64_t length = bytes ? 0 : head[1] & LENGTH;
    for (size_t i = 0; i < bytes; i++)
        length = length << 8 | head[2 + i];
    return length;
}

size_t frame_size(struct span data)
{
    const unsigned char *head = (const unsigned char *)data.p;
    return 2 + length_bytes(head[1]) + (size_t)length_of(head);
}

/* ---- in -------------------------------------------------------------------------------------------- */
static void wrong(struct frame *ret, unsigned code, const char *reason)
{
    *ret = (struct frame){.what = FRAME_WRONG, .code = code, .reason = reason};
}

/* Turns the mask too, so that the next byte begins with its first. */
static void unmask(char *data, size_t n, unsigned char mask[static 4])
{
    unsigned char next[4];
    uint64_t twice, eight;
    memcpy(&twice, mask, 4);
    memcpy((char *)&twice + 4, mask, 4);
    size_t i = 0;
    for (; n - i >= sizeof eight; i += sizeof eight) {
        memcpy(&eight, data + i, sizeof eight);
        eight ^= twice;
        memcpy(data + i, &eight, sizeof eight);
    }
    for (; i < n; i++)
        data[i] = (char)(data[i] ^ mask[i % 4]);
    for (i = 0; i < 4; i++)
        next[i] = mask[(n + i) % 4];
    memcpy(mask, next, 4);
}

/* What is wrong with a head of which the first two bytes are there, NULL if nothing is. */
static const char *first_fault(const struct frame_reader *reader, const unsigned char *head)
{
    unsigned opcode = head[0] & OPCODE;
    bool begins = opcode == FRAME_TEXT || opcode == FRAME_BINARY;
    if (head[0] & RESERVED)
        return "reserved bits";
    if ((head[1] & MASKED) == 0)
        return "a frame without a mask";
    if (opcode & CONTROL) {
        if (opcode > FRAME_PONG)
            return "unknown opcode";
        return head[0] & FINAL && (head[1] & LENGTH) <= CONTROL_MAX ? NULL : "a long or cut control frame";
    }
    if (opcode > FRAME_BINARY)
        return "unknown opcode";
    return begins != reader->open ? NULL : "a message inside another, or a part of none";
}

static const char *length_fault(const unsigned char *head)
{
    static const uint64_t least[] = {[0] = 0, [2] = 126, [8] = 65536};
    uint64_t length = length_of(head);
    return length < least[length_bytes(head[1])] || length >> 63 ? "a length that is written wrong" : NULL;
}

static bool code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) || (code >= 3000 && code <= 4999);
}

static void read_close(struct frame *ret, struct span data)
{
    const unsigned char *p = (const unsigned char *)data.p;
    *ret = (struct frame){.what = FRAME_CLOSED, .data = data, .code = 1000};
    if (data.n == 0)
        return;
    if (data.n == 1 || !code_valid(ret->code = (unsigned)(p[0] << 8 | p[1])))
        wrong(ret, 1002, "an unknown close code");
    else if (!utf8_valid(span_from(data, 2)))
        wrong(ret, 1007, "a reason that is not UTF-8");
}

/* What there is of the payload of a message's frame. */
static size_t read_piece(struct frame_reader *reader, char *data, size_t n, struct frame *ret)
{
    size_t size = reader->left < n ? (size_t)reader->left : n;
    unmask(data, size, reader->mask);
    reader->left -= size;
    reader->inside = reader->left > 0;
    bool final = reader->final && !reader->inside;
    reader->open = !final;
    *ret = (struct frame){.what = FRAME_PIECE,
                          .data = {data, size},
                          .left = reader->left,
                          .final = final,
                          .binary = reader->binary};
    return size;
}

/* A control frame, whose payload is there. */
static void read_control(unsigned opcode, char *data, size_t n, unsigned char *mask, struct frame *ret)
{
    unmask(data, n, mask);
    if (opcode == FRAME_CLOSE)
        read_close(ret, (struct span){data, n});
    else
        *ret = (struct frame){.what = opcode == FRAME_PING ? FRAME_PINGED : FRAME_PONGED, .data = {data, n}};
}

size_t frame_read(struct frame_reader *reader, char *data, size_t n, struct frame *ret)
{
    unsigned char *head = (unsigned char *)data;
    const char *fault;
    *ret = (struct frame){.what = FRAME_MORE};
    if (reader->inside)
        return n ? read_piece(reader, data, n, ret) : 0;
    if (n < 2)
        return 0;
    size_t size = 2 + length_bytes(head[1]) + 4;
    unsigned opcode = head[0] & OPCODE;
    if ((fault = first_fault(reader, head)) != NULL)
        wrong(ret, 1002, fault);
    if (fault || n < size)
        return 0;
    if ((fault = length_fault(head)) != NULL) {
        wrong(ret, 1002, fault);
        return 0;
    }
    uint64_t length = length_of(head);
    if (opcode & CONTROL) {
        if (n - size < length)
            return 0;
        read_control(opcode, data + size, (size_t)length, head + size - 4, ret);
        return size + (size_t)length;
    }
    memcpy(reader->mask, head + size - 4, 4);
    reader->left = length;
    reader->final = (head[0] & FINAL) != 0;
    if (opcode != FRAME_CONTINUATION)
        reader->binary = opcode == FRAME_BINARY;
    return size + read_piece(reader, data + size, n - size, ret);
}
