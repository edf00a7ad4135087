/* SPDX-License-Identifier: MIT */
/* Matching of expected and heard words, and the figures made of it. */
#include "hub/base/buf.h"
#include "tasks/speech/score.h"
#include "tests/lib/tap.h"

#include <math.h>

/* Matches two texts; the indexes of heard words as a line, "-" = none. */
static void match(const char *expected, const char *heard, const char *want, size_t want_extra)
{
    struct word_list a, b;
    int at[64];
    struct buf line = BUF_INIT;
    normalize_text(expected, 64, &a);
    normalize_text(heard, 64, &b);
    size_t extra = score_match(&a, &b, at);
    for (size_t i = 0; i < a.count; i++) {
        if (at[i] < 0)
            buf_append_char(&line, '-');
        else
            buf_append_i64(&line, at[i]);
    }
    is_span(buf_span(&line), want, "\"%s\" heard as \"%s\"", expected, heard);
    is_int(extra, want_extra, "extra words");
    buf_free(&line);
    word_list_free(&a);
    word_list_free(&b);
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
