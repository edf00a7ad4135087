/* SPDX-License-Identifier: MIT */
/* which events the lines of the feed become, and which lines are refused. */
#include "tasks/queue/event_text.h"
#include "tests/lib/tap.h"

#define ID "01a202a3-586f-71c8-8a1c-1011487995e6"
#define OTHER_ID "01980000-0000-7000-8000-0000000000ff"

static struct event *event_of(const char *line)
{
    struct event_lines lines = {.owner = "u1"};
    return event_lines_read(&lines, span_of(line));
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

static void test_notification(void)
{
    struct event *event = event_of("=7 0 N 0 - 1795000000000 0 -\tb{\"id\":\"n1\",\"title\":\"t\"}");
    ok(event && event->type->code == 'N' && event->seq == 7, "a notification");
    is_text(event->task_id, "", "is of no task");
    char body[64];
    snprintf(body, sizeof body, "{\"id\":\"n1\",\"title\":\"t\",\"mark\":\"%04x\"}", event->mark);
    ok(event->size == strlen(body) && memcmp(event->body, body, event->size) == 0, "its body");
    event_unref(&event);
}

static uint16_t mark_of(const char *entry)
{
    struct event_text text;
    return event_text_read(span_of(entry), &text) ? event_text_mark(&text) : 0;
}

static void test_marks(void)
{
    struct event *event = event_of("=7 0 A 0 " ID " 1795000000000 0 noop");
    uint16_t mark = mark_of("A 0 " ID " 1795000000000 0 noop");
    struct buf text = BUF_INIT;
    ok(mark && event->mark == mark, "an event that was told has the mark of its entry");
    ok(mark_of("K 0 " ID " 1795000000000 0 noop") != mark, "another type has another one");
    ok(mark_of("A 0 " ID " 1795000000001 0 noop") != mark, "as has another time");
    ok(mark_of("A 0 " OTHER_ID " 1795000000000 0 noop") != mark, "as has another task");
    event_mark_member(&text, 0x0abc);
    ok(span_is(buf_span(&text), ",\"mark\":\"0abc\""), "it is written");
    is_int(event_mark_read(SPAN("0abc")), 0x0abc, "and read");
    is_int(event_mark_read(SPAN("0abC")) | event_mark_read(SPAN("abc")), 0, "what is no mark is none");
    buf_free(&text);
    event_unref(&event);
}

/* Lines read back as they were written. */
static void test_written(void)
{
    static const struct event_text texts[] = {
        {.code = 'P',
         .attempt = 2,
         .progress = 5,
         .at_ms = 1795000000000,
         .id = {ID, 36},
         .task = {"noop", 4}},
        {.code = 'P', .progress = 6, .at_ms = 1795000000001, .stage = {"last", 4}, .message = {"\"hi\"", 4}},
        {.code = 'p', .progress = 6, .at_ms = 1795000000002, .meta = {"{\n\t\"a\":1}", 9}},
    };
    struct buf message CLEANUP(buf_free) = BUF_INIT;
    struct event_lines lines = {.owner = "u1"};
    for (size_t i = 0; i < NELEMS(texts); i++)
        event_text_line(&message, &texts[i], 2 * i + 2);
    lines.rest = buf_span(&message);
    for (size_t i = 0; i < NELEMS(texts); i++) {
        struct event *event = event_lines_read(&lines, event_lines_next(&lines));
        ok(event && event->type->code == texts[i].code && event->rev == 2 * i + 2 && event->attempt == 2,
           "line %zu", i);
        event_unref(&event);
        ok(lines.last.at_ms == texts[i].at_ms && lines.last.progress == texts[i].progress &&
               span_is(lines.last.id, ID) && span_is(lines.last.task, "noop"),
           "its figures");
    }
    is_span(lines.last.meta, "{  \"a\":1}", "JSON on one line");
}

static void check_next(struct event_lines *lines, const char *owner, unsigned rev, int progress,
                       const char *stage)
{
    char part[64];
    struct span line = event_lines_next(lines);
    struct event *event = line.p ? event_lines_read(lines, line) : NULL;
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
    struct event_lines lines = {.rest = SPAN("@u1\n=0 2 P 1 " ID " 1795000000000 10 noop_heavy step\n"
                                             "~4 P 1795000000001 20\n~6 P 1795000000002 30 last\tm\"m\"\n"
                                             "@u2\n=0 8 P 1 " ID " 1795000000000 40 noop_heavy\n")};
    check_next(&lines, "u1", 2, 10, "step");
    check_next(&lines, "u1", 4, 20, "started");
    check_next(&lines, "u1", 6, 30, "last");
    check_next(&lines, "u2", 8, 40, "started");
    ok(event_lines_next(&lines).p == NULL, "the end");
    static const char *const alone[] = {
        "~4 P 1795000000001 20",
        "=5 0 Q 1 " ID " 1 100 noop\n~4 P 1795000000001 20",
        "=0 2 P 1 " ID " 1795000000000 10 noop\n@u2\n~4 P 1795000000001 20",
        "=0 2 P 1 " ID " 1795000000000 10 noop\n~4 C 1795000000001 20",
        "=0 2 P 1 " ID " 1795000000000 10 noop\n~x P 1795000000001 20",
    };
    for (size_t i = 0; i < NELEMS(alone); i++) {
        struct event *event = NULL;
        lines = (struct event_lines){.rest = span_of(alone[i])};
        for (struct span line; (line = event_lines_next(&lines)).p != NULL;) {
            event_unref(&event);
            event = event_lines_read(&lines, line);
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
        "=7 0 N 0 - 1795000000000 0 -", /* a notification without a body */
        "=7 0 N 0 - 1795000000000 0 -\tb[]",
        "C 7 0 1 " ID " {}",
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
    test_notification();
    test_marks();
    test_written();
    test_messages();
    test_no_lines();
    return done_testing();
}
