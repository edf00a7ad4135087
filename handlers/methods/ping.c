/* SPDX-License-Identifier: MIT */
/* ping: the hub's time. */
#include "handlers/methods/methods.h"
#include "hub/base/clock.h"
#include "hub/json/json_write.h"

void run_ping(struct request *request, const struct span *values)
{
    (void)values;
    struct buf *result = request_result(request);
    buf_append_char(result, '{');
    json_member_time(result, "time", clock_wall_ms());
    buf_append_char(result, '}');
    request_reply(request, buf_span(result));
}
