/* SPDX-License-Identifier: MIT */
/* Figures of a text. */
#include "hub/base/mem.h"
#include "tasks/model/text.h"
#include "tests/lib/tap.h"

#include <math.h>

static struct text_figures measure(const char *text, const char *language)
{
    struct text_figures figures;
    text_measure(span_of(text), language, &figures);
    return figures;
}

static void counts(const char *text, int words, int sentences)
{
    struct text_figures f = measure(text, "en");
    is_int(f.words, words, "words of: %s", text);
    is_int(f.sentences, sentences, "sentences of: %s", text);
}

int main(void)
{
    counts("", 0, 0);
    counts("...", 0, 0);
    counts(" \n\t ", 0, 0);
    counts("Hello", 1, 1);
    counts("Hello world. How are you?", 5, 2);
    counts("Version 3.5 of example.org is out!", 8, 1);
    counts("Dr. Smith met Mr. Jones. They talked.", 7, 2);
    counts("\"Stop!\" he said. (Really?) Yes...", 5, 4);
    counts("Wait... what?! No.", 3, 3);
    counts("I don't know. It's fine.", 5, 2);
    counts("He said no. She left.", 5, 2);
    counts("That is what I meant, e.g. yes. 'Really?' So I.", 11, 3);
    counts("ÄRGER über Öl — naïve café.", 5, 1);
    counts("你好。世界！", 4, 2);
    counts("one\xe2\x80\xa6 two", 2, 2);

    struct text_figures f = measure("The cat sat on the mat. The cat ate the rat, and the Cat slept.", NULL);
    is_int(f.words, 15, "words");
    is_text(f.keywords[0].word, "cat", "most frequent word");
    is_int(f.keywords[0].count, 3, "its count, whatever its case");
    is_text(f.keywords[1].word, "sat", "then by place");
    ok(f.flesch > 100 && f.grade < 2, "very easy: %.1f, grade %.1f", f.flesch, f.grade);
    ok(fabs(f.reading_time_s - 15 * 60 / 238.0) < 0.01, "reading time");
    struct text_figures hard =
        measure("Institutional accountability necessitates comprehensive documentation.", "en");
    ok(hard.flesch < 0 && hard.grade > 15 && hard.lix > 60, "very hard: %.1f %.1f %.1f", hard.flesch,
       hard.grade, hard.lix);
    is_text(measure("ÜBER über Über", "de").keywords[0].word, "über", "capitals beyond ASCII");

    struct buf { /* many different words */
        char text[60000];
    } *big = xcalloc(1, sizeof *big);
    size_t at = 0;
    for (int i = 0; i < 5000; i++)
        at += (size_t)snprintf(big->text + at, sizeof big->text - at, "word%04x ", i);
    struct text_figures many = measure(big->text, "en");
    is_int(many.words, 5000, "many words");
    is_int(many.keyword_count, TEXT_KEYWORDS, "ten keywords");
    free(big);
    memset(&many, 0, sizeof many);
    char longest[400];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    is_int(strlen(measure(longest, "en").keywords[0].word), TEXT_WORD_MAX, "a long word is cut");
    return done_testing();
}
