/* SPDX-License-Identifier: MIT */
/* Text as comparable words: lower case, no punctuation, accents folded, whole numbers spelled out, some
 * spelling variants unified. Any thread. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>

struct word_list {
    char **list; /* [a-z'] only */
    size_t count;
};

/* The words of UTF-8 text; at most `max` of them. Give them back with word_list_free(). */
void normalize_text(const char *text, size_t max, struct word_list *ret_words);
void word_list_free(struct word_list *words);
/* Whether two normalised words are spellings of the same word ("mr", "mister"). */
bool normalize_same(const char *a, const char *b);
