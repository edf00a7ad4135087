/* tasks/queue/event_text.h: what the lines of the feed become, and which are none. */
#include "tasks/queue/event_text.h"
#include "tests/lib/tap.h"

#define ID "01a202a3-586f-71c8-8a1c-1011487995e6"

static struct buf scratch;

static struct event *event_of(const char *line)
{
    struct queue_lines lines = {.owner = "u1"};
    return queue_line_event(&lines, span_of(line), &scratch);
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

static void check_next(struct queue_lines *lines, const char *owner, unsigned rev, int progress,
                       const char *stage)
{
    char part[64];
    struct span line = queue_lines_next(lines);
    struct event *event = line.p ? queue_line_event(lines, line, &scratch) : NULL;
    ok(event != NULL, "an event");
    if (event == NULL)
        return;
    is_text(lines->owner, owner, "of %s", owner);
    is_int((int)event->rev, (int)rev, "its rev");
    snprintf(part, sizeof part, "\"stage\":\"%s\",\"progress\":%d", stage, progress);
    ok(strstr(event->body, part) != NULL, "%s", part);
    ok(strstr(event->body, ID) != NULL, "of the task");
    event_unref(&event);
}

static void test_messages(void)
{
    struct queue_lines lines = {.rest = SPAN("@u1\n=0 2 P 1 " ID " 1795000000000 10 noop_heavy step\n"
                                             "~4 P 1795000000001 20\n~6 P 1795000000002 30 last\tm\"m\"\n"
                                             "@u2\n=0 8 P 1 " ID " 1795000000000 40 noop_heavy\n")};
    check_next(&lines, "u1", 2, 10, "step");
    ok(lines.turned, "the first of an owner");
    check_next(&lines, "u1", 4, 20, "started");
    ok(!lines.turned, "another of the same");
    check_next(&lines, "u1", 6, 30, "last");
    check_next(&lines, "u2", 8, 40, "started");
    ok(lines.turned, "the next owner");
    ok(queue_lines_next(&lines).p == NULL, "the end");
    static const char *const alone[] = {
        "~4 P 1795000000001 20",
        "=5 0 Q 1 " ID " 1 100 noop\n~4 P 1795000000001 20",
        "=0 2 P 1 " ID " 1795000000000 10 noop\n@u2\n~4 P 1795000000001 20",
        "=0 2 P 1 " ID " 1795000000000 10 noop\n~4 C 1795000000001 20",
        "=0 2 P 1 " ID " 1795000000000 10 noop\n~x P 1795000000001 20",
    };
    for (size_t i = 0; i < NELEMS(alone); i++) {
        struct event *event = NULL;
        lines = (struct queue_lines){.rest = span_of(alone[i])};
        for (struct span line; (line = queue_lines_next(&lines)).p != NULL;) {
            event_unref(&event);
            event = queue_line_event(&lines, line, &scratch);
        }
        ok(event == NULL, "continues nothing: %s", alone[i]);
        event_unref(&event);
    }
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
    test_messages();
    test_no_lines();
    buf_free(&scratch);
    return done_testing();
}
