/* SPDX-License-Identifier: MIT */
/* hub/base/log.c: one call is one line whatever the values hold; rate limit per call site. */
#include "hub/base/log.h"

#include "hub/base/buf.h"
#include "tests/lib/tap.h"

#include <jansson.h>
#include <unistd.h>

static int saved_stderr = -1;
static FILE *capture;

static void capture_begin(void)
{
    capture = tmpfile();
    saved_stderr = dup(STDERR_FILENO);
    dup2(fileno(capture), STDERR_FILENO);
}

/* What was written to stderr since capture_begin(). */
static char *capture_end(void)
{
    static char text[65536];
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    rewind(capture);
    size_t n = fread(text, 1, sizeof text - 1, capture);
    text[n] = '\0';
    fclose(capture);
    return text;
}

static int count_lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void test_logfmt(void)
{
    log_setup("unit", "info", "logfmt");
    capture_begin();
    log_info("hello", "user", "alice", "empty", "", "null", NULL, "n", LOG_NUM(-12));
    char *text = capture_end();
    ok(strstr(text, " level=info prog=unit msg=hello user=alice empty=\"\" null=\"\" n=-12\n") != NULL,
       "plain values stand as they are");
    ok(strncmp(text, "ts=20", 5) == 0, "the time comes first");

    capture_begin();
    log_warn("forged", "user", "x\nts=2026 level=error msg=\"fake\"", "escape", "\x1b[2J", "key", "a=b");
    text = capture_end();
    is_int(count_lines(text), 1, "a line feed in a value does not make a line");
    ok(strchr(text, '\x1b') == NULL, "control bytes are escaped");
    ok(strstr(text, "user=\"x\\nts=2026 level=error msg=\\\"fake\\\"\"") != NULL, "quotes are escaped");
    ok(strstr(text, "key=\"a=b\"") != NULL, "an equals sign is quoted");

    capture_begin();
    log_warn("hidden", "c1",
             "\xc2\x9b"
             "2J",
             "bidi",
             "a\xe2\x80\xae"
             "b\xe2\x81\xa9",
             "line",
             "a\xe2\x80\xa8"
             "b",
             "name", "Żółć 猫");
    text = capture_end();
    ok(strstr(text, "c1=\"\\u009b2J\" bidi=\"a\\u202eb\\u2069\" line=\"a\\u2028b\" name=\"Żółć 猫\"\n") !=
           NULL,
       "what turns or hides text is escaped, letters are not: %s", text);
}

static void test_words(void)
{
    static const struct {
        const char *level, *format;
        int lines;
        char first;
    } rows[] = {{"debug", "json", 4, '{'},
                {"info", "logfmt", 3, 't'},
                {"warn", "json", 2, '{'},
                {"error", "logfmt", 1, 't'},
                {"", "", 3, 't'}};
    for (size_t i = 0; i < NELEMS(rows); i++) {
        log_setup("unit", rows[i].level, rows[i].format);
        capture_begin();
        log_debug("a");
        log_info("b");
        log_warn("c");
        log_error("d");
        const char *text = capture_end();
        ok(count_lines(text) == rows[i].lines && text[0] == rows[i].first, "options '%s' and '%s'",
           rows[i].level, rows[i].format);
    }
}

static void test_json_format(void)
{
    log_setup("unit", "info", "json");
    capture_begin();
    log_error("it \"broke\"", "why", "a\tb\xff");
    char *text = capture_end();
    json_t *line = json_loads(text, 0, NULL);
    is_text(json_string_value(json_object_get(line, "msg")), "it \"broke\"", "the message");
    is_text(json_string_value(json_object_get(line, "why")), "a\tb\xef\xbf\xbd", "a value with a bad byte");
    json_decref(line);
    is_int(count_lines(text), 1, "one line");
}

static void test_levels_and_rate(void)
{
    log_setup("unit", "warn", "logfmt");
    capture_begin();
    log_debug("no");
    log_info("no");
    char *text = capture_end();
    is_text(text, "", "lines below the level are not written");

    capture_begin();
    for (int i = 0; i < 500; i++)
        log_warn("flood", "i", LOG_NUM(i));
    log_warn("another site");
    text = capture_end();
    int lines = count_lines(text);
    ok(lines >= 21 && lines <= 41, "at most 20 lines per site and second (%d)", lines);
    ok(strstr(text, "another site") != NULL, "another site is not held back");
}

int main(void)
{
    test_logfmt();
    test_json_format();
    test_words();
    test_levels_and_rate();
    return done_testing();
}
