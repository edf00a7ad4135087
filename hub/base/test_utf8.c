/* SPDX-License-Identifier: MIT */
/* hub/base/utf8.c: which characters are printable, which may stand unescaped. */
#include "hub/base/utf8.h"

#include "hub/base/mem.h"
#include "tests/lib/tap.h"

#include <string.h>

static void test_printable(void)
{
    static const struct {
        const char *text;
        bool printable;
    } rows[] = {
        {"a key of 2026", true},
        {"заказ-17", true},
        {"注文 十七", true},
        {"می‌خواهم", true}, /* with a zero width non-joiner, which its script needs */
        {"👩‍🔬", true},
        {"\xc2\xa0", true},
        {"", true},
        {"a\nb", false},
        {"\x7f", false},
        {"\xc2\x9b"
         "2J",
         false},
        {"a\xe2\x80\xa8"
         "b",
         false},
        {"a\xe2\x80\xae"
         "b",
         false},
        {"a\xe2\x81\xa6"
         "b",
         false},
        {"\xd8\x9c", false},
        {"\xff", false},
        {"\xe2\x80", false},
    };
    for (size_t i = 0; i < NELEMS(rows); i++)
        is_int(utf8_printable(rows[i].text, strlen(rows[i].text)), rows[i].printable, "row %zu", i);
    ok(!utf8_printable("a\0b", 3), "a NUL is not shown");
}

/* Each byte at each place of a text of up to 20 bytes, followed by others that are not plain. */
static void test_plain(void)
{
    for (unsigned at = 0; at < 20; at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            unsigned char text[20];
            bool plain = byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\';
            memset(text, byte % 2 ? '\xff' : '"', sizeof text);
            memset(text, '~', at);
            text[at] = (unsigned char)byte;
            if (utf8_plain(text, sizeof text) != at + plain || utf8_plain(text, at + 1) != at + plain)
                ok(false, "byte %u at %u", byte, at);
        }
    }
    is_int(utf8_plain((const unsigned char *)"", 0), 0, "nothing");
}

static void test_valid(void)
{
    const struct {
        struct span text;
        bool valid;
    } rows[] = {
        {SPAN(""), true},
        {SPAN("plain and longer than eight bytes"), true},
        {SPAN("seven bé\xf0\x9f\x91\xa9"), true},
        {SPAN("\0\x7f"), true},
        {SPAN("12345678\xe2\x82\xac"), true},
        {SPAN("1234567\xe2\x82\xac"
              "12345678"),
         true},
        {SPAN("12345678\xe2\x82"), false},
        {SPAN("1234567\xe2\x82("), false},
        {SPAN("12345678\xff"), false},
        {SPAN("\xed\xa0\x80"), false},
        {SPAN("\xc0\x80"), false},
        {SPAN("\xf4\x90\x80\x80"), false},
    };
    for (size_t i = 0; i < NELEMS(rows); i++)
        is_int(utf8_valid(rows[i].text), rows[i].valid, "valid or not: text %zu", i);
}

int main(void)
{
    test_plain();
    test_printable();
    test_valid();
    return done_testing();
}
