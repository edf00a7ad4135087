/* Frames between a worker's parent and its slots; see proto.h. Any thread; no state. */
#include "tasks/runner/slots/proto.h"

#define ABSENT UINT32_MAX /* length of SPAN_NONE */

struct header {
    uint32_t size; /* of the payload */
    uint32_t type;
    uint32_t seq;
};
_Static_assert(sizeof(struct header) == SLOT_HEADER_SIZE, "the header has no padding");

int slot_frame_next(struct span in, size_t max, struct slot_frame *ret, size_t *ret_used)
{
    struct header header;
    if (in.n < sizeof header)
        return 0;
    memcpy(&header, in.p, sizeof header);
    if (header.type < SLOT_HELLO || header.type > SLOT_ENDED || header.size > max)
        return -1;
    if (in.n - sizeof header < header.size)
        return 0;
    *ret = (struct slot_frame){header.type, header.seq, {in.p + sizeof header, header.size}};
    *ret_used = sizeof header + header.size;
    return 1;
}

size_t slot_frame_begin(struct buf *to, enum slot_frame_type type, uint32_t seq)
{
    size_t begun = to->len;
    buf_append(to, &(struct header){0, type, seq}, sizeof(struct header));
    return begun;
}

void slot_frame_end(struct buf *to, size_t begun)
{
    uint32_t size = (uint32_t)(to->len - begun - sizeof(struct header));
    memcpy(to->data + begun, &size, sizeof size);
}

void slot_put_u32(struct buf *to, uint32_t value)
{
    buf_append(to, &value, sizeof value);
}

void slot_put_u64(struct buf *to, uint64_t value)
{
    buf_append(to, &value, sizeof value);
}

void slot_put_span(struct buf *to, struct span text)
{
    slot_put_u32(to, text.p ? (uint32_t)text.n : ABSENT);
    buf_append_span(to, text);
}

void slot_frame_span(struct buf *to, enum slot_frame_type type, uint32_t seq, struct span text)
{
    size_t begun = slot_frame_begin(to, type, seq);
    buf_append_span(to, text);
    slot_frame_end(to, begun);
}

void slot_frame_u64(struct buf *to, enum slot_frame_type type, uint32_t seq, uint64_t value)
{
    size_t begun = slot_frame_begin(to, type, seq);
    slot_put_u64(to, value);
    slot_frame_end(to, begun);
}

void slot_frame_empty(struct buf *to, enum slot_frame_type type, uint32_t seq)
{
    slot_frame_span(to, type, seq, SPAN_NONE);
}

/* Copies the next `size` bytes, zeros if they are not there. */
static void take(struct slot_fields *from, void *to, size_t size)
{
    if (from->bad || from->rest.n < size) {
        from->bad = true;
        memset(to, 0, size);
        return;
    }
    memcpy(to, from->rest.p, size);
    from->rest = (struct span){from->rest.p + size, from->rest.n - size};
}

uint32_t slot_get_u32(struct slot_fields *from)
{
    uint32_t value;
    take(from, &value, sizeof value);
    return value;
}

uint64_t slot_get_u64(struct slot_fields *from)
{
    uint64_t value;
    take(from, &value, sizeof value);
    return value;
}

struct span slot_get_span(struct slot_fields *from)
{
    uint32_t size = slot_get_u32(from);
    if (from->bad || size == ABSENT)
        return SPAN_NONE;
    if (size > from->rest.n) {
        from->bad = true;
        return SPAN_NONE;
    }
    struct span text = {from->rest.p, size};
    from->rest = (struct span){from->rest.p + size, from->rest.n - size};
    return text;
}

bool slot_fields_end(const struct slot_fields *from)
{
    return !from->bad && from->rest.n == 0;
}

void slot_put_task(struct buf *to, uint32_t seq, const struct slot_task *task)
{
    size_t begun = slot_frame_begin(to, SLOT_TASK, seq);
    slot_put_u32(to, task->attempt);
    slot_put_u32(to, task->quick);
    slot_put_span(to, task->id);
    slot_put_span(to, task->owner);
    slot_put_span(to, task->type);
    slot_put_span(to, task->args);
    slot_frame_end(to, begun);
}

bool slot_get_task(struct span payload, struct slot_task *ret)
{
    struct slot_fields from = {payload, false};
    ret->attempt = slot_get_u32(&from);
    ret->quick = slot_get_u32(&from) != 0;
    ret->id = slot_get_span(&from);
    ret->owner = slot_get_span(&from);
    ret->type = slot_get_span(&from);
    ret->args = slot_get_span(&from);
    return slot_fields_end(&from);
}

void slot_put_progress(struct buf *to, uint32_t seq, const struct slot_progress *progress)
{
    size_t begun = slot_frame_begin(to, SLOT_PROGRESS, seq);
    slot_put_u32(to, progress->percent);
    slot_put_span(to, progress->stage);
    slot_put_span(to, progress->message);
    slot_put_span(to, progress->meta);
    slot_frame_end(to, begun);
}

bool slot_get_progress(struct span payload, struct slot_progress *ret)
{
    struct slot_fields from = {payload, false};
    ret->percent = slot_get_u32(&from);
    ret->stage = slot_get_span(&from);
    ret->message = slot_get_span(&from);
    ret->meta = slot_get_span(&from);
    return slot_fields_end(&from);
}

void slot_put_call(struct buf *to, uint32_t seq, const struct slot_call *call)
{
    size_t begun = slot_frame_begin(to, SLOT_CALL, seq);
    slot_put_u32(to, call->call);
    slot_put_span(to, call->service);
    slot_put_span(to, call->args);
    slot_frame_end(to, begun);
}

bool slot_get_call(struct span payload, struct slot_call *ret)
{
    struct slot_fields from = {payload, false};
    ret->call = slot_get_u32(&from);
    ret->service = slot_get_span(&from);
    ret->args = slot_get_span(&from);
    return slot_fields_end(&from);
}

void slot_put_answer(struct buf *to, uint32_t seq, const struct slot_answer *answer)
{
    size_t begun = slot_frame_begin(to, SLOT_ANSWER, seq);
    slot_put_u32(to, answer->call);
    slot_put_span(to, answer->json);
    slot_frame_end(to, begun);
}

bool slot_get_answer(struct span payload, struct slot_answer *ret)
{
    struct slot_fields from = {payload, false};
    ret->call = slot_get_u32(&from);
    ret->json = slot_get_span(&from);
    return slot_fields_end(&from);
}

void slot_put_ended(struct buf *to, uint32_t seq, const struct slot_ended *ended)
{
    size_t begun = slot_frame_begin(to, SLOT_ENDED, seq);
    slot_put_u64(to, ended->took_us);
    slot_put_u32(to, ended->failed);
    slot_put_u32(to, ended->retry);
    slot_put_span(to, ended->result);
    slot_put_span(to, ended->code);
    slot_put_span(to, ended->error);
    slot_frame_end(to, begun);
}

bool slot_get_ended(struct span payload, struct slot_ended *ret)
{
    struct slot_fields from = {payload, false};
    ret->took_us = slot_get_u64(&from);
    ret->failed = slot_get_u32(&from) != 0;
    ret->retry = slot_get_u32(&from) != 0;
    ret->result = slot_get_span(&from);
    ret->code = slot_get_span(&from);
    ret->error = slot_get_span(&from);
    return slot_fields_end(&from);
}
