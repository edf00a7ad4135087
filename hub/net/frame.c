/* Server frames; see frame.h. Any thread. */
#include "hub/net/frame.h"

void frame_begin(struct buf *to, enum frame_opcode opcode, size_t size)
{
    unsigned char *head = (unsigned char *)buf_reserve(to, FRAME_HEADER_MAX + size);
    head[0] = (unsigned char)(0x80 | opcode);
    if (size < 126) {
        head[1] = (unsigned char)size;
        to->len += 2;
    } else if (size < 65536) {
        head[1] = 126;
        head[2] = (unsigned char)(size >> 8);
        head[3] = (unsigned char)size;
        to->len += 4;
    } else {
        head[1] = 127;
        for (unsigned i = 0; i < 8; i++)
            head[2 + i] = (unsigned char)((uint64_t)size >> (56 - 8 * i));
        to->len += 10;
    }
}

size_t frame_size(struct span data)
{
    const unsigned char *head = (const unsigned char *)data.p;
    if (head[1] < 126)
        return 2u + head[1];
    if (head[1] == 126)
        return 4u + ((size_t)head[2] << 8) + head[3];
    uint64_t size = 0;
    for (unsigned i = 0; i < 8; i++)
        size = size << 8 | head[2 + i];
    return 10 + (size_t)size;
}

void frame_close(struct buf *to, unsigned code, const char *reason)
{
    size_t n = strnlen(reason, 123);
    const char both[2] = {(char)(code >> 8), (char)code};
    frame_begin(to, FRAME_CLOSE, 2 + n);
    buf_append(to, both, 2);
    buf_append(to, reason, n);
}
