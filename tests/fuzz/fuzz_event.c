/* Lines of the event feed, as they come from Redis. */
#include "hub/event.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct event *event = event_parse(fuzz_span(data, size));
    if (event) {
        HOLDS(event->type == event_type_by_code(event->type->code));
        HOLDS(event->task_id[0] == '\0' || id_valid(span_of(event->task_id)));
        HOLDS(event->size <= size);
        event_unref(&event);
    }
    return 0;
}
