/* SPDX-License-Identifier: MIT */
/* Language tags and Latin letters. */
#include "tasks/model/language.h"
#include "tests/lib/tap.h"

int main(void)
{
    static const char *const good[] = {
        "en",          "en-US",    "EN-gb",      "deu",     "zh-Hant-TW",         "zh-yue-HK",
        "es-419",      "sl-nedis", "de-CH-1996", "sr-Latn", "de-DE-u-co-phonebk", "en-x-home",
        "de-a-bc-x-1", "tlh",
    };
    static const char *const bad[] = {
        "",
        "e",
        "en_US",
        "en-",
        "-en",
        "en--US",
        "english-american-of-old",
        "en-US-GB",
        "12",
        "en-u",
        "en-x",
        "d\xc3\xa9",
        "en US",
        "i-klingon",
        "en-Latn-Cyrl",
        "en\n",
        "{language}",
        "en-x-12345678-12345678-12345678-12345678",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ok(language_well_formed(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(!language_well_formed(bad[i]), "not \"%s\"", bad[i]);
    ok(language_same("en-US", "EN") && language_same("en", "en-GB"), "the same language");
    ok(!language_same("en", "eng") && !language_same("de-AT", "en"), "another");
    static const char *const latin[] = {"a", "\xd0\xaf 7", "\xc3\xa9", "\xc5\xbb"};
    static const char *const other[] = {
        "", " .!", "\xd0\x9f\xd1\x80\xd0\xb8", "\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\x98\x80", "\xc3\x97"};
    for (size_t i = 0; i < sizeof latin / sizeof *latin; i++)
        ok(text_has_latin(span_of(latin[i])), "Latin %zu", i);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        ok(!text_has_latin(span_of(other[i])), "not Latin %zu", i);
    return done_testing();
}
