/* SPDX-License-Identifier: MIT */
/* Frames from a slot process whose memory a task may have overwritten. */
#include "tasks/runner/slots/proto.h"
#include "tests/fuzz/fuzz.h"

static bool inside(struct span part, struct span whole)
{
    return part.p == NULL || (part.p >= whole.p && part.p + part.n < whole.p + whole.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = fuzz_span(data, size);
    struct slot_frame frame = {0};
    size_t used;
    while (slot_next(rest, 1 << 20, &frame, &used) > 0) {
        HOLDS(used >= SLOT_HEADER_SIZE && used <= rest.n);
        for (size_t i = 0; i < SLOT_TEXTS; i++)
            HOLDS(inside(frame.text[i], (struct span){rest.p, used}));
        memset(&frame, 0, sizeof frame);
        rest = (struct span){rest.p + used, rest.n - used};
    }
    return 0;
}
