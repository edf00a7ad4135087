/* SPDX-License-Identifier: MIT */
/* Quick figures of a text: words, sentences, reading time, readability, keywords. Pure functions on valid
 * UTF-8; any thread. */
#pragma once

#include "hub/base/span.h"

#include <stdint.h>

#define TEXT_KEYWORDS 10
#define TEXT_WORD_MAX 64 /* most bytes kept of a word */

struct text_keyword {
    char word[TEXT_WORD_MAX + 1]; /* lower case */
    unsigned count;
};

struct text_figures {
    int64_t characters, words, sentences, syllables, long_words; /* long: more than six letters */
    double reading_time_s;
    double words_per_sentence;
    double flesch, grade; /* English only: reading ease, school grade */
    double lix;           /* any language written with letters */
    struct text_keyword keywords[TEXT_KEYWORDS];
    size_t keyword_count;
};

/* Measures a text. `language`: two letters (ISO 639-1); decides which words cannot be keywords; NULL =
 * "en". Sources of the formulas: see text.c. */
void text_measure(struct span text, const char *language, struct text_figures *ret);
