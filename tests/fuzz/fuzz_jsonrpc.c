/* Text messages of a client, through envelope, dispatch, shapes and handlers. The first byte says who the
 * client is and how the queue answers; the byte 0x1e ends a message, 0x1d also the turn. */
#include "hub/auth/auth.h"
#include "tests/fuzz/fake_hub.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    fake_open(data[0] & 1, data[0] & 2 ? ROLE_ADMIN : data[0] & 4 ? ROLE_VIEWER : 0, data[0]);
    for (size_t at = 1; at < size;) {
        size_t end = at;
        while (end < size && data[end] != 0x1e && data[end] != 0x1d)
            end++;
        fake_text(fuzz_span(data + at, end - at));
        if (end < size && data[end] == 0x1d)
            fake_turn();
        at = end + 1;
    }
    fake_close();
    return 0;
}
