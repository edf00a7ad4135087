/* SPDX-License-Identifier: MIT */
/* The figures of a reading: which expected words were heard, how accurate each was, and one score. Any
 * thread. */
#pragma once

#include "tasks/speech/normalize.h"

#include <stddef.h>

/* Matches the heard words with the expected ones by the least number of changes (Wagner and Fischer):
 * ret_heard_at[i] = index of the heard word that stands for expected word i, or −1. Returns the number of
 * heard words that stand for none. Considers at most SCORE_WORDS_MAX of either. */
#define SCORE_WORDS_MAX 2000
size_t score_match(const struct word_list *expected, const struct word_list *heard, int *ret_heard_at);

/* Accuracy of one word, 0–100: both witnesses must be against it to make it wrong (docs/speech.md, "The
 * score"). `fits` = how well the sound fits it (0–1), negative = not known; `confidence` = of the matching
 * heard word, negative = none was heard. */
double score_word(double fits, double confidence);

/* The total, 0–100: the sum of the words' accuracies, divided by their number plus half the number of
 * unexpected words. */
double score_total(const double *accuracy, size_t count, size_t extra);
