/* Digits of both bases. */
#include "hub/base/digits.h"
#include "hub/base/mem.h"
#include "tests/lib/tap.h"

static void test_hex(void)
{
    bool right = true;
    for (int c = -128; c < 128; c++) {
        const char *at = c > 0 ? strchr(HEX_DIGITS, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
        right = right && hex_value((char)c) == (at ? (int)(at - HEX_DIGITS) : -1);
    }
    ok(right, "every character as a hex digit");
}

static void test_int(void)
{
    static const struct {
        const char *text;
        bool fits;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1x", false, 0},
        {"--1", false, 0},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        int64_t value = 0;
        ok(digits_int(span_of(rows[i].text), &value) == rows[i].fits && value == rows[i].value, "\"%s\"",
           rows[i].text);
    }
}

int main(void)
{
    test_hex();
    test_int();
    return done_testing();
}
