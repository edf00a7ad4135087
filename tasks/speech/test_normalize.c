/* SPDX-License-Identifier: MIT */
/* Text as comparable words. */
#include "hub/base/buf.h"
#include "tasks/speech/normalize.h"
#include "tests/lib/tap.h"

static void check(const char *text, const char *want)
{
    struct word_list words;
    struct buf joined = BUF_INIT;
    normalize_text(text, 100, &words);
    for (size_t i = 0; i < words.count; i++)
        buf_printf(&joined, "%s%s", i ? " " : "", words.list[i]);
    is_span(buf_span(&joined), want, "\"%s\"", text);
    buf_free(&joined);
    word_list_free(&words);
}

int main(void)
{
    check("Hello, World!", "hello world");
    check("  don't 'quote' rock'n'roll ' '' ", "don't quote rock'n'roll");
    check("it\xe2\x80\x99s a \xe2\x80\x9ctest\xe2\x80\x9d", "it's a test");
    check("caf\xc3\xa9 na\xc3\xafve \xc3\x85ngstr\xc3\xb6m \xc5\xbb\xc3\xb3\xc5\x82",
          "cafe naive angstrom zol");
    check("well-known e-mail/web", "well known e mail web");
    check("10 meters", "ten meters");
    check("0 7 13 20 42 100 101 999", "zero seven thirteen twenty forty two one hundred one hundred one nine "
                                      "hundred ninety nine");
    check("1,234,567 and 12,3", "one million two hundred thirty four thousand five hundred sixty seven and "
                                "twelve three");
    check("007 1000 1234567890", "zero zero seven one thousand one two three four five six seven eight nine "
                                 "zero");
    check("4th", "fourth");
    check("1455 $19.99 10:30 3.5",
          "fourteen fifty five nineteen dollars and ninety nine cents ten thirty three "
          "point five");
    check("", "");
    check("\xe6\x97\xa5\xe6\x9c\xac ok \xf0\x9f\x98\x80 \xff\xc3", "ok");

    struct word_list words;
    normalize_text("one two three four", 2, &words);
    is_int(words.count, 2, "no more words than asked for");
    word_list_free(&words);
    normalize_text("999999999 1", 3, &words);
    is_int(words.count, 3, "also inside a number");
    word_list_free(&words);

    char digits[9001];
    for (size_t i = 0; i < 9000; i++)
        digits[i] = "1455 "[i % 5];
    digits[9000] = '\0';
    struct lattice all;
    lattice_read(digits, 1000, &all);
    ok(all.cut && all.usual >= 1000 && all.count < 3100, "the ways to read a text of digits are bounded");
    lattice_free(&all);

    ok(normalize_same("mr", "mister") && normalize_same("grey", "gray"), "spellings of one word");
    ok(normalize_same("tree", "tree") && !normalize_same("tree", "trees"), "same and not");
    return done_testing();
}
