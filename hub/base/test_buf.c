/* SPDX-License-Identifier: MIT */
/* hub/base/buf.c: growth, numbers, JSON escaping, consuming. */
#include "hub/base/buf.h"

#include "tests/lib/tap.h"

static void test_append(void)
{
    struct buf buf = BUF_INIT;
    is_int(buf_span(&buf).n, 0, "a new buffer is empty");
    ok(buf_span(&buf).p != NULL, "the span of an empty buffer is not absent");
    buf_append_text(&buf, "abc");
    buf_append_char(&buf, '-');
    buf_append_span(&buf, SPAN("def"));
    buf_append_span(&buf, SPAN_NONE);
    is_span(buf_span(&buf), "abc-def", "pieces stand in order");
    buf_clear(&buf);
    is_int(buf.len, 0, "cleared");
    for (int i = 0; i < 1000; i++)
        buf_append_text(&buf, "0123456789");
    is_int(buf.len, 10000, "grows");
    ok(memcmp(buf.data + 9990, "0123456789", 10) == 0, "content survives growing");
    buf_free(&buf);
    ok(buf.data == NULL && buf.cap == 0, "freed and usable again");
    buf_append_text(&buf, "x");
    char *text = buf_take_string(&buf);
    is_text(text, "x", "taken as a string");
    is_int(buf.len, 0, "empty after the string was taken");
    free(text);
}

static void test_numbers(void)
{
    static const struct {
        int64_t value;
        const char *text;
    } rows[] = {
        {0, "0"}, {7, "7"}, {-1, "-1"}, {1234567890123, "1234567890123"}, {INT64_MIN, "-9223372036854775808"},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        struct buf buf = BUF_INIT;
        buf_append_i64(&buf, rows[i].value);
        is_span(buf_span(&buf), rows[i].text, "number %s", rows[i].text);
        buf_free(&buf);
    }
    struct buf buf = BUF_INIT;
    buf_append_u64(&buf, UINT64_MAX);
    buf_printf(&buf, " %s/%d", "text", -5);
    buf_printf(&buf, "%s", "");
    is_span(buf_span(&buf), "18446744073709551615 text/-5", "unsigned number and printf");
    buf_free(&buf);
}

static void test_json(void)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", "\"\""},
        {"plain text", "\"plain text\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\b\t\n\f\r", "\"\\b\\t\\n\\f\\r\""},
        {"\x01\x1b[31m\x7f", "\"\\u0001\\u001b[31m\\u007f\""},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\""},
        {"a\xff"
         "b",
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xc0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                 /* overlong */
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a surrogate */
        {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                 /* cut short */
        {"<script>\xe2\x80\xa8", "\"<script>\xe2\x80\xa8\""},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        struct buf buf = BUF_INIT;
        buf_append_json(&buf, span_of(rows[i].text));
        is_span(buf_span(&buf), rows[i].want, "JSON string of row %zu", i);
        buf_free(&buf);
    }
    struct buf buf = BUF_INIT;
    buf_append_json(&buf, SPAN_NONE);
    buf_append_json(&buf, (struct span){"a\0b", 3});
    is_span(buf_span(&buf), "\"\"\"a\\u0000b\"", "the absent span, and a NUL byte");
    buf_free(&buf);
}

static void test_consume(void)
{
    struct buf buf = BUF_INIT;
    buf_append_text(&buf, "abcdef");
    buf_consume(&buf, 2);
    is_span(buf_span(&buf), "cdef", "the first two bytes are gone");
    buf_consume(&buf, 0);
    is_span(buf_span(&buf), "cdef", "nothing consumed");
    buf_consume(&buf, 4);
    is_int(buf.len, 0, "all consumed");
    buf_append_text(&buf, "xy");
    buf_consume(&buf, 99);
    is_int(buf.len, 0, "more than there is");
    char *at = buf_reserve(&buf, 500);
    memset(at, 'z', 500);
    is_int(buf.len, 0, "reserving does not move the end");
    buf_free(&buf);
}

int main(void)
{
    test_append();
    test_numbers();
    test_json();
    test_consume();
    return done_testing();
}
