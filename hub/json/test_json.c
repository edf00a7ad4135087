/* SPDX-License-Identifier: MIT */
/* hub/json/json.c, the slicer: what it accepts and refuses, walking, values, shapes. The strings of the two
 * lists are one JSON text each; where a case needs bytes that C strings cannot hold, see test_bytes(). */
#include "hub/json/json.h"

#include "tests/lib/tap.h"

#include <math.h>

static enum json_kind check(struct span text)
{
    const char *reason = NULL;
    return json_check(text, JSON_LIMITS, &reason);
}

static const char *const good[] = {
    "{}",
    "[]",
    " \t\r\n{ \"a\" : [ 1 , 2 ] } \n",
    "\"\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83D\\uDE00\"",
    "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
    "\"\x7f\"",
    "0",
    "-0",
    "-1",
    "12345678901234567890123456789",
    "0.5",
    "-0.0e-0",
    "1E400",
    "1e+5",
    "true",
    "false",
    "null",
    "[null,true,false,0,\"\",{},[]]",
    "{\"\":0}",
    "{\"a\":{\"a\":{\"a\":1}}}",
    "{\"a\":1,\"A\":2,\"a \":3}",
    "[{\"a\":1},{\"a\":1}]",
};

static const char *const bad[] = {
    "",
    " ",
    "{",
    "}",
    "[",
    "]",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1,,2]",
    "[}",
    "{]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,\"a\":1}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\"::1}",
    "{} {}",
    "[][]",
    "{}x",
    "1 2",
    "\"",
    "\"a",
    "\"\\\"",
    "\"\\x41\"",
    "\"\\'\"",
    "\"\\\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\ud800x\"",
    "\"\\ud800\\n\"",
    "\"\\ud800\\u0041\"",
    "\"\\ud800\\ud800\"",
    "\"\\udc00\"",
    "\"a\tb\"",
    "\"a\nb\"",
    "\"\x1f\"",
    "\"\x80\"",
    "\"\xc0\xaf\"",
    "\"\xc1\xbf\"",
    "\"\xe0\x9f\xbf\"",
    "\"\xed\xa0\x80\"",
    "\"\xf0\x8f\xbf\xbf\"",
    "\"\xf4\x90\x80\x80\"",
    "\"\xf5\x80\x80\x80\"",
    "\"\xe2\x82\"",
    "\xef\xbb\xbf{}", /* a byte order mark */
    "\xc2\xa0{}",     /* a no-break space */
    "+1",
    "01",
    "-01",
    "-",
    "--1",
    ".5",
    "1.",
    "1.e5",
    "1e",
    "1e+",
    "1e5.5",
    "0x10",
    "1_000",
    "Infinity",
    "-Infinity",
    "NaN",
    "nan",
    "True",
    "tru",
    "truex",
    "nul",
    "nulll",
    "undefined",
    "// comment\n1",
    "/* comment */ 1",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"b\":2,\"\\u0061\":3}",
    "{\"\":1,\"\":2}",
    "{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}",
    "[{\"x\":{\"k\":1,\"k\":1}}]",
};

static void test_grammar(void)
{
    for (size_t i = 0; i < NELEMS(good); i++)
        ok(check(span_of(good[i])) != KIND_NONE, "good %zu: %s", i, good[i]);
    for (size_t i = 0; i < NELEMS(bad); i++) {
        const char *reason = NULL;
        ok(json_check(span_of(bad[i]), JSON_LIMITS, &reason) == KIND_NONE && reason, "bad %zu: %s", i,
           bad[i]);
    }
}

/* Texts in heap memory of their exact size, so that a sanitizer sees a read beyond the end. */
static void test_bytes(void)
{
    const struct {
        const char *name;
        struct span text;
    } rows[] = {
        {"a NUL byte in a string", SPAN("\"a\0b\"")},    {"a NUL byte behind the value", SPAN("{}\0")},
        {"a NUL byte before the value", SPAN("\0{}")},   {"a backslash and a NUL byte", SPAN("\"\\\0\"")},
        {"a name with a NUL byte", SPAN("{\"a\0\":1}")},
    };
    for (size_t i = 0; i < NELEMS(rows); i++)
        ok(check(rows[i].text) == KIND_NONE, "refused: %s", rows[i].name);

    bool safe = true;
    for (size_t i = 0; i < NELEMS(good); i++) {
        size_t n = strlen(good[i]);
        for (size_t cut = 1; cut < n; cut++) {
            char *copy = xmalloc(cut);
            memcpy(copy, good[i], cut);
            enum json_kind kind = check((struct span){copy, cut});
            safe = safe && (kind == KIND_NONE || good[i][0] != '{');
            free(copy);
        }
    }
    ok(safe, "every cut text is read within its bounds");
}

static void nested(struct buf *to, unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        buf_append_char(to, '[');
    for (unsigned i = 0; i < depth; i++)
        buf_append_char(to, ']');
}

static void test_limits(void)
{
    const char *reason = "";
    struct buf text = BUF_INIT;
    nested(&text, JSON_DEPTH_MAX);
    is_int(check(buf_span(&text)), KIND_ARRAY, "depth %d", JSON_DEPTH_MAX);
    buf_clear(&text);
    nested(&text, JSON_DEPTH_MAX + 1);
    is_int(json_check(buf_span(&text), JSON_LIMITS, &reason), KIND_NONE, "one deeper");
    is_text(reason, "nested too deeply", "the reason is named");
    buf_clear(&text);
    for (int i = 0; i < 200000; i++)
        buf_append_char(&text, '[');
    is_int(check(buf_span(&text)), KIND_NONE, "200 000 open brackets");

    for (int extra = 0; extra < 2; extra++) {
        buf_clear(&text);
        for (int i = 0; i < JSON_MEMBERS_MAX + extra; i++)
            buf_printf(&text, "%s\"k%d\":0", i ? "," : "{", i);
        buf_append_char(&text, '}');
        is_int(json_check(buf_span(&text), JSON_LIMITS, &reason), extra ? KIND_NONE : KIND_OBJECT,
               "%d members", JSON_MEMBERS_MAX + extra);
    }
    is_text(reason, "too many members", "the reason is named");
    const struct json_limits small = {2, 1};
    is_int(json_check(SPAN("{\"a\":{\"b\":1}}"), small, &reason), KIND_OBJECT, "small limits, met");
    is_int(json_check(SPAN("{\"a\":[[]]}"), small, &reason), KIND_NONE, "small depth, exceeded");
    is_int(json_check(SPAN("{\"a\":1,\"b\":1}"), small, &reason), KIND_NONE, "small count, exceeded");
    buf_free(&text);
}

static void test_walk(void)
{
    struct span text = SPAN(" { \"a\" : 1.5 , \"b\\u0062\":\"x,}]\\\"\", \"c\":[1,[2,\"]\"],{\"d\":{}}] } ");
    is_int(check(text), KIND_OBJECT, "the text is JSON");
    is_span(json_get(text, "a"), "1.5", "a number member");
    is_span(json_get(text, "bb"), "\"x,}]\\\"\"", "an escaped name, a string with brackets");
    is_span(json_get(text, "c"), "[1,[2,\"]\"],{\"d\":{}}]", "a nested member");
    is_span(json_get(text, "d"), NULL, "names of inner objects are not found");
    is_span(json_get(SPAN("{}"), "a"), NULL, "an empty object");

    struct json_iter iter = json_walk(json_get(text, "c"));
    struct span value;
    static const char *const want[] = {"1", "[2,\"]\"]", "{\"d\":{}}"};
    size_t n = 0;
    while (json_next_element(&iter, &value)) {
        is_span(value, n < NELEMS(want) ? want[n] : NULL, "element %zu", n);
        n++;
    }
    is_int(n, 3, "three elements");
    is_span(json_trim(SPAN(" \n x y \t")), "x y", "trimmed");
    is_span(json_trim(SPAN(" \n")), "", "trimmed to nothing");
}

static void test_kinds(void)
{
    static const struct {
        const char *text;
        enum json_kind kind;
    } rows[] = {
        {"{}", KIND_OBJECT},  {" []", KIND_ARRAY},     {"\"\"", KIND_STRING}, {"0", KIND_INTEGER},
        {"-5", KIND_INTEGER}, {"1.0", KIND_NUMBER},    {"1e2", KIND_NUMBER},  {"true", KIND_TRUE},
        {"null", KIND_NULL},  {"\nfalse", KIND_FALSE}, {"", KIND_NONE},
    };
    for (size_t i = 0; i < NELEMS(rows); i++)
        is_int(json_kind_of(span_of(rows[i].text)), rows[i].kind, "kind of '%s'", rows[i].text);
}

static void test_strings(void)
{
    struct buf buf = BUF_INIT;
    json_string_append(&buf, SPAN(" \"\\u0041\\n\\\"\\u20ac\\ud83d\\ude00\\/\" "));
    is_span(buf_span(&buf), "A\n\"\xe2\x82\xac\xf0\x9f\x98\x80/", "decoded");
    buf_clear(&buf);
    json_string_append(&buf, SPAN("\"plain\""));
    is_span(buf_span(&buf), "plain", "without escapes");
    buf_free(&buf);

    char small[6] = "old";
    ok(json_string_copy(SPAN("\"12345\""), small, sizeof small), "fits exactly");
    is_text(small, "12345", "and is terminated");
    ok(!json_string_copy(SPAN("\"123456\""), small, sizeof small), "one byte too long");
    ok(json_string_is(SPAN("\"task\\u002eget\""), "task.get"), "compared decoded");
    ok(!json_string_is(SPAN("\"task.get\""), "task.ge"), "a prefix is not equal");
    ok(!json_string_is(SPAN("task"), "task"), "no string at all");
    ok(json_key_is(SPAN("\\u0069d"), "id"), "a key compared decoded");
    ok(!json_key_is(SPAN("i"), "id") && !json_key_is(SPAN("idx"), "id"), "keys of other lengths");
}

static void test_numbers(void)
{
    static const struct {
        const char *text;
        bool fits;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {" 42 ", true, 42},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"100000000000000000000000000000000", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"\"1\"", false, 0},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        int64_t value = 0;
        bool fits = json_int(span_of(rows[i].text), &value);
        ok(fits == rows[i].fits && value == rows[i].value, "integer %s", rows[i].text);
    }
    double number = 0;
    ok(json_double(SPAN("-1.5e2"), &number) && fabs(number + 150) < 1e-9, "a double");
    ok(json_double(SPAN("7"), &number) && fabs(number - 7) < 1e-9, "an integer as double");
    ok(!json_double(SPAN("1e400"), &number), "infinity is refused");
    ok(!json_double(SPAN("\"1\""), &number), "a string is no number");
}

static void test_match(void)
{
    static const char *const colours[] = {"red", "green", NULL};
    static const struct json_field fields[] = {
        {.name = "id", .kinds = KIND_STRING, .required = true, .min = 1, .max = 4},
        {.name = "stars", .kinds = KIND_INTEGER, .min = 1, .max = 5},
        {.name = "ratio", .kinds = KIND_NUMBER, .min = -1, .max = 1},
        {.name = "flag", .kinds = KIND_TRUE},
        {.name = "list", .kinds = KIND_ARRAY, .min = 1, .max = 2},
        {.name = "colour", .kinds = KIND_STRING | KIND_NULL, .words = colours},
    };
    static const struct {
        const char *text, *field; /* field: the offending one, NULL = accepted */
    } rows[] = {
        {"{\"id\":\"a\"}", NULL},
        {"{\"id\":\"a\",\"stars\":5,\"ratio\":-1,\"flag\":false,\"list\":[{}],\"colour\":\"green\"}", NULL},
        {"{\"id\":\"a\",\"ratio\":0.5,\"flag\":true,\"list\":[1,[2,3]],\"colour\":null}", NULL},
        {"{\"id\":\"\xc3\xa4\xc3\xa4\"}", NULL},
        {"{\"id\":\"\\u00e4\\u00e4\"}", NULL},
        {"{}", "id"},
        {"{\"id\":null}", "id"},
        {"{\"id\":\"\"}", "id"},
        {"{\"id\":\"12345\"}", "id"},
        {"{\"id\":\"\xc3\xa4\xc3\xa4\xc3\xa4\"}", "id"},
        {"{\"id\":\"a\",\"stars\":0}", "stars"},
        {"{\"id\":\"a\",\"stars\":6}", "stars"},
        {"{\"id\":\"a\",\"stars\":1.5}", "stars"},
        {"{\"id\":\"a\",\"stars\":\"5\"}", "stars"},
        {"{\"id\":\"a\",\"stars\":99999999999999999999}", "stars"},
        {"{\"id\":\"a\",\"ratio\":1.01}", "ratio"},
        {"{\"id\":\"a\",\"ratio\":1e999}", "ratio"},
        {"{\"id\":\"a\",\"flag\":1}", "flag"},
        {"{\"id\":\"a\",\"list\":[]}", "list"},
        {"{\"id\":\"a\",\"list\":[1,2,3]}", "list"},
        {"{\"id\":\"a\",\"colour\":\"blue\"}", "colour"},
        {"{\"id\":\"a\",\"user_id\":\"eve\"}", "user_id"},
        {"{\"Id\":\"a\"}", "Id"},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        struct span values[NELEMS(fields)];
        struct json_field_error error = {0};
        ok(check(span_of(rows[i].text)) == KIND_OBJECT, "row %zu is JSON", i);
        bool matched = json_match(span_of(rows[i].text), fields, NELEMS(fields), values, &error);
        ok(matched == (rows[i].field == NULL), "%s: %s", rows[i].text, error.message);
        if (!matched) {
            is_text(error.field, rows[i].field, "the field is named");
            ok(strstr(error.message, rows[i].field) != NULL, "in the message too");
        }
    }
    struct span values[NELEMS(fields)];
    struct json_field_error error = {0};
    ok(!json_match(SPAN_NONE, fields, NELEMS(fields), values, &error),
       "no object at all: a field is missing");
    ok(json_match(SPAN_NONE, fields + 1, 1, values, &error), "no object at all, nothing required");
    ok(json_match(SPAN("{\"id\":\"a\"}"), fields, 1, values, &error), "one field");
    is_span(values[0], "\"a\"", "the value is raw");
}

int main(void)
{
    test_grammar();
    test_bytes();
    test_limits();
    test_walk();
    test_kinds();
    test_strings();
    test_numbers();
    test_match();
    return done_testing();
}
