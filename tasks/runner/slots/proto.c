/* SPDX-License-Identifier: MIT */
/* Frames between a worker's parent and its slots; see proto.h. Any thread; no state. */
#include "tasks/runner/slots/proto.h"

#define ABSENT UINT32_MAX /* length of SPAN_NONE */

struct header {
    uint32_t size; /* bytes after the header */
    uint32_t type;
    uint32_t seq;
};
_Static_assert(sizeof(struct header) == SLOT_HEADER_SIZE, "the header has no padding");

static const struct {
    unsigned numbers, texts;
} parts[] = {
    [SLOT_HELLO] = {1, 0},     [SLOT_TASK] = {2, 5},    [SLOT_WAKE] = {0, 0},  [SLOT_AUDIO] = {0, 1},
    [SLOT_AUDIO_END] = {0, 0}, [SLOT_ANSWER] = {1, 1},  [SLOT_READY] = {0, 0}, [SLOT_STARTED] = {0, 0},
    [SLOT_PROGRESS] = {1, 3},  [SLOT_PARTIAL] = {0, 1}, [SLOT_FINAL] = {0, 1}, [SLOT_LOG] = {0, 1},
    [SLOT_CALL] = {1, 2},      [SLOT_TAKEN] = {1, 0},   [SLOT_ENDED] = {3, 3},
};

static char *put(char *at, const void *data, size_t size)
{
    if (size)
        memcpy(at, data, size);
    return at + size;
}

void slot_put(struct buf *to, const struct slot_frame *frame)
{
    unsigned numbers = parts[frame->type].numbers, texts = parts[frame->type].texts;
    size_t size = numbers * sizeof frame->number[0];
    for (unsigned i = 0; i < texts; i++)
        size += sizeof(uint32_t) + (frame->text[i].p ? frame->text[i].n + 1 : 0);
    struct header header = {(uint32_t)size, frame->type, frame->seq};
    char *at = put(buf_reserve(to, sizeof header + size), &header, sizeof header);
    at = put(at, frame->number, numbers * sizeof frame->number[0]);
    for (unsigned i = 0; i < texts; i++) {
        struct span text = frame->text[i];
        uint32_t n = text.p ? (uint32_t)text.n : ABSENT;
        at = put(at, &n, sizeof n);
        if (text.p)
            at = put(put(at, text.p, text.n), "", 1);
    }
    to->len += sizeof header + size;
}

/* Takes a text from the start of `from`; false if it is cut off. */
static bool take_text(struct span *from, struct span *ret)
{
    uint32_t n;
    if (from->n < sizeof n)
        return false;
    memcpy(&n, from->p, sizeof n);
    *from = (struct span){from->p + sizeof n, from->n - sizeof n};
    *ret = SPAN_NONE;
    if (n == ABSENT)
        return true;
    if (n >= from->n || from->p[n] != '\0')
        return false;
    *ret = (struct span){from->p, n};
    *from = (struct span){from->p + n + 1, from->n - n - 1};
    return true;
}

int slot_next(struct span in, size_t max, struct slot_frame *ret, size_t *ret_used)
{
    struct header header;
    if (in.n < sizeof header)
        return 0;
    memcpy(&header, in.p, sizeof header);
    if (header.type < SLOT_HELLO || header.type > SLOT_ENDED || header.size > max)
        return -1;
    if (in.n - sizeof header < header.size)
        return 0;
    struct span rest = {in.p + sizeof header, header.size};
    size_t numbers = parts[header.type].numbers * sizeof ret->number[0];
    if (rest.n < numbers)
        return -1;
    ret->type = header.type;
    ret->seq = header.seq;
    put((char *)ret->number, rest.p, numbers);
    rest = (struct span){rest.p + numbers, rest.n - numbers};
    for (unsigned i = 0; i < parts[header.type].texts; i++)
        if (!take_text(&rest, &ret->text[i]))
            return -1;
    *ret_used = sizeof header + header.size;
    return rest.n ? -1 : 1;
}
