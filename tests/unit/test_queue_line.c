/* tasks/queue_line.c: what the lines of the feed become, and which are none. */
#include "tasks/queue_line.h"
#include "tests/tap.h"

#define ID "01a202a3-586f-71c8-8a1c-1011487995e6"

static struct buf scratch;

static struct event *event_of(const char *line)
{
    return queue_line_event("u1", span_of(line), &scratch);
}

static void test_lines(void)
{
    struct event *event =
        event_of("=0 3 P 2 " ID " 1795000000000 40 noop_heavy working\tm\"hi\"\tt{\"a\":1}");
    ok(event != NULL, "a line of progress");
    is_int((int)event->seq, 0, "carries no seq");
    is_int((int)event->rev, 3, "but a rev");
    is_int((int)event->attempt, 2, "and the attempt");
    char body[512];
    snprintf(body, sizeof body, "%.*s", (int)event->size, event->body);
    is_text(body,
            "{\"task_id\":\"" ID "\",\"task\":\"noop_heavy\",\"user_id\":\"u1\",\"type\":\"progress\","
            "\"status\":\"processing\",\"stage\":\"working\",\"progress\":40,\"message\":\"hi\","
            "\"meta\":{\"a\":1},\"attempt\":2,\"at\":\"2026-11-18T11:06:40.000Z\"}",
            "its body");
    event_unref(&event);
    event = event_of("=7 0 C 1 " ID " 1795000000000 100 noop\to");
    snprintf(body, sizeof body, "%.*s", (int)event->size, event->body);
    ok(strstr(body, "\"result_omitted\":true") != NULL, "a result that is too large is named");
    event_unref(&event);
}

static void test_no_lines(void)
{
    static const char *const lines[] = {
        "",
        "=",
        "=1",
        "=1 0 C 1 " ID,
        "=0 0 C 1 " ID " 1 100 noop", /* a logged event without seq */
        "=5 1 P 1 " ID " 1 100 noop", /* progress with one */
        "=1 0 Q 1 " ID " 1 100 noop", /* no such type */
        "=1 0 CC 1 " ID " 1 100 noop",
        "=1 0 C x " ID " 1 100 noop",
        "=1 0 C 1 not-an-id 1 100 noop",
        "=1 0 C 1 " ID " 1 100 nooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooop",
        "=9999999999999999999999 0 C 1 " ID " 1 100 noop",
    };
    for (size_t i = 0; i < NELEMS(lines); i++) {
        struct event *event = event_of(lines[i]);
        ok(event == NULL, "not a line: %s", lines[i]);
        event_unref(&event);
    }
}

int main(void)
{
    test_lines();
    test_no_lines();
    buf_free(&scratch);
    return done_testing();
}
