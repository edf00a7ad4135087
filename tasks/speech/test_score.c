/* SPDX-License-Identifier: MIT */
/* Matching of expected and heard words, and the figures made of it. */
#include "hub/base/buf.h"
#include "tasks/speech/score.h"
#include "tests/lib/tap.h"

#include <math.h>

/* Matches two texts; the indexes of heard words as a line, "-" = none. */
static void match(const char *expected, const char *heard, const char *want, size_t want_extra)
{
    struct lattice a, b;
    struct match match;
    struct buf line = BUF_INIT;
    lattice_read(expected, 64, &a);
    lattice_read(heard, 64, &b);
    score_match(&a, &b, &match);
    for (size_t i = 0; i < match.expected.count; i++) {
        if (match.heard_at[i] < 0)
            buf_append_char(&line, '-');
        else
            buf_append_i64(&line, match.heard_at[i]);
    }
    is_span(buf_span(&line), want, "\"%s\" heard as \"%s\"", expected, heard);
    is_int(match.extra, want_extra, "extra words");
    buf_free(&line);
    match_free(&match);
    lattice_free(&a);
    lattice_free(&b);
}

/* Two texts that are readings of each other, whichever was expected. */
static void same(const char *one, const char *other)
{
    struct lattice a, b;
    lattice_read(one, 64, &a);
    lattice_read(other, 64, &b);
    for (int turn = 0; turn < 2; turn++) {
        struct match match;
        size_t missing = 0;
        score_match(turn ? &b : &a, turn ? &a : &b, &match);
        for (size_t i = 0; i < match.expected.count; i++)
            missing += match.heard_at[i] < 0;
        ok(missing == 0 && match.extra == 0, "\"%s\" is read \"%s\"", turn ? other : one, turn ? one : other);
        match_free(&match);
    }
    lattice_free(&a);
    lattice_free(&b);
}

static const char *const readings[][2] = {
    {"in 1455", "in fourteen fifty five"},
    {"in 1455", "in fourteen fifty-five"},
    {"in 1455", "in one thousand four hundred and fifty five"},
    {"in 1455", "in fourteen hundred fifty five"},
    {"in 1455", "in one four five five"},
    {"1455", "1,455"},
    {"1905", "nineteen oh five"},
    {"1900", "nineteen hundred"},
    {"2005", "two thousand and five"},
    {"2024", "twenty twenty four"},
    {"1990s", "nineteen nineties"},
    {"the '80s", "the eighties"},
    {"42", "forty two"},
    {"101", "a hundred and one"},
    {"12,000", "twelve thousand"},
    {"the 21st", "the twenty first"},
    {"22nd 3rd 4th 12th 30th", "twenty second third fourth twelfth thirtieth"},
    {"May 5, 2020", "May fifth, twenty twenty"},
    {"3.5", "three point five"},
    {"0.25", "point two five"},
    {"3.14", "three point fourteen"},
    {"$19.99", "nineteen dollars and ninety nine cents"},
    {"$19.99", "nineteen dollars ninety-nine"},
    {"$19.99", "nineteen ninety nine"},
    {"$1", "one dollar"},
    {"$5 million", "five million dollars"},
    {"$2.5 billion", "two point five billion dollars"},
    {"\xc2\xa3"
     "3.01",
     "three pounds and one penny"},
    {"\xe2\x82\xac"
     "1,500",
     "fifteen hundred euros"},
    {"at 10:30", "at ten thirty"},
    {"at 10:30", "at half past ten"},
    {"at 10:45", "at a quarter to eleven"},
    {"at 9:05", "at nine oh five"},
    {"at 7:00", "at seven o'clock"},
    {"22:10", "ten past ten"},
    {"at 10:30 a.m.", "at ten thirty AM"},
    {"1/2", "one half"},
    {"1/2", "a half"},
    {"2/3", "two thirds"},
    {"3/4", "three quarters"},
    {"2 1/2", "two and a half"},
    {"2\xc2\xbd", "two and a half"},
    {"24/7", "twenty four seven"},
    {"50%", "fifty percent"},
    {"50 %", "fifty per cent"},
    {"5 km", "five kilometres"},
    {"5km", "five kilometers"},
    {"60 mph", "sixty miles per hour"},
    {"20\xc2\xb0"
     "C",
     "twenty degrees celsius"},
    {"the USA", "the U.S.A."},
    {"the USA", "the u s a"},
    {"NASA", "nasa"},
    {"BBC", "b b c"},
    {"Dr. Smith", "doctor Smith"},
    {"Elm St.", "elm street"},
    {"Mr. and Mrs.", "mister and missus"},
    {"Henry VIII", "Henry the eighth"},
    {"World War II", "world war two"},
    {"R&D", "r and d"},
    {"-5", "minus five"},
    {"10-20", "ten to twenty"},
    {"555-1234", "five five five one two three four"},
    {"No. 5", "number five"},
    {"# 5", "number five"},
    {"2 + 2 = 4", "two plus two equals four"},
    {"007", "oh oh seven"},
};

static void check_readings(void)
{
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++)
        same(readings[i][0], readings[i][1]);
    match("in 1455 or so", "in 1456 or so", "012-45", 0);
    match("$19.99 please", "", "----", 0);
}

static bool close_to(double value, double want)
{
    return fabs(value - want) < 0.01;
}

int main(void)
{
    match("go forward ten meters", "go forward ten meters", "0123", 0);
    match("go forward ten meters", "go four ten meters", "0-23", 0);
    match("go forward ten meters", "please go forward then ten meters now", "1245", 3);
    match("go forward ten meters", "", "----", 0);
    match("", "hello there", "", 2);
    match("a b c", "c", "--0", 0);
    match("mister smith", "mr smith", "01", 0);
    match("the the the", "the the", "-01", 0);

    check_readings();

    ok(close_to(score_word(1, 0.9), 100), "a word that fits and was heard");
    ok(close_to(score_word(0, -1), 0), "one that neither fits nor was heard");
    ok(score_word(0.9, -1) < 91 && score_word(0.9, -1) > 89, "the sound alone counts as it fits");
    ok(close_to(score_word(0, 0.5), 90), "a heard word is trusted to nine tenths");
    ok(close_to(score_word(-1, 1), 100), "without alignment: a sure word");
    ok(close_to(score_word(-1, 0), 50), "an unsure one");
    ok(close_to(score_word(-1, -1), 0), "none");

    const double all[] = {100, 100, 100, 100}, half[] = {100, 0};
    ok(close_to(score_total(all, 4, 0), 100), "perfect");
    ok(close_to(score_total(all, 4, 8), 50), "extra words cost half a word each");
    ok(close_to(score_total(half, 2, 0), 50), "half");
    ok(close_to(score_total(NULL, 0, 3), 0), "nothing expected");
    return done_testing();
}
