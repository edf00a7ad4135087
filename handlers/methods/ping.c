/* ping: the hub's time. */
#include "handlers/methods/methods.h"
#include "hub/base/clock.h"

#include <stdio.h>

void run_ping(struct request *request, const struct span *values)
{
    (void)values;
    char at[CLOCK_TEXT_SIZE], text[64];
    clock_format(clock_wall_ms(), at);
    snprintf(text, sizeof text, "{\"time\":\"%s\"}", at);
    request_reply(request, span_of(text));
}
