/* SPDX-License-Identifier: MIT */
/* Text messages of a client, through envelope, dispatch, shapes and methods. The first byte says who the
 * client is; the byte 0x1e ends a message, 0x1d also the turn. */
#include "tests/fuzz/hub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    client_comes(data[0] & 1, data[0] & 2 ? ROLE_ADMIN : data[0] & 4 ? ROLE_VIEWER : 0);
    for (size_t at = 1; at < size;) {
        size_t end = at;
        while (end < size && data[end] != 0x1e && data[end] != 0x1d)
            end++;
        client_says(fuzz_span(data + at, end - at));
        if (end < size && data[end] == 0x1d)
            turn(data[0] & 8);
        at = end + 1;
    }
    client_leaves();
    return 0;
}
