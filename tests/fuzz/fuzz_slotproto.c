/* Frames from a slot process whose memory a task may have overwritten. */
#include "tasks/runner/slots/proto.h"
#include "tests/fuzz/fuzz.h"

static bool inside(struct span part, struct span whole)
{
    return part.p == NULL || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void take_apart(struct span payload)
{
    struct slot_task task;
    struct slot_progress progress;
    struct slot_call call;
    struct slot_answer answer;
    struct slot_ended ended;
    if (slot_get_task(payload, &task))
        HOLDS(inside(task.id, payload) && inside(task.owner, payload) && inside(task.args, payload));
    if (slot_get_progress(payload, &progress))
        HOLDS(inside(progress.stage, payload) && inside(progress.message, payload));
    if (slot_get_call(payload, &call))
        HOLDS(inside(call.service, payload) && inside(call.args, payload));
    if (slot_get_answer(payload, &answer))
        HOLDS(inside(answer.json, payload));
    if (slot_get_ended(payload, &ended))
        HOLDS(inside(ended.result, payload) && inside(ended.code, payload) && inside(ended.error, payload));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = fuzz_span(data, size);
    struct slot_frame frame;
    size_t used;
    while (slot_frame_next(rest, 1 << 20, &frame, &used) > 0) {
        HOLDS(used >= SLOT_HEADER_SIZE && used <= rest.n && inside(frame.payload, rest));
        take_apart(frame.payload);
        rest = (struct span){rest.p + used, rest.n - used};
    }
    return 0;
}
