/* SPDX-License-Identifier: MIT */
/* Lines of the event feed, as they come from Redis. */
#include "tasks/queue/event_text.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct event_lines lines = {.rest = fuzz_span(data, size)};
    struct event *event = NULL;
    for (struct span line; (line = event_lines_next(&lines)).p != NULL;) {
        event_unref(&event);
        event = event_lines_read(&lines, line);
    }
    if (event) {
        HOLDS(event->type == event_type_by_code(event->type->code));
        HOLDS(event->task_id[0] == '\0' || id_valid(span_of(event->task_id)));
        HOLDS(event->size <= 6 * size + 512); /* escaped, and what the words of an entry become */
        event_unref(&event);
    }
    return 0;
}
