/* SPDX-License-Identifier: MIT */
/* The figures of a reading: which expected words were heard, how accurate each was, and one score. Any
 * thread. */
#pragma once

#include "tasks/speech/normalize.h"

#include <stddef.h>

/* How two texts were read: the ways through both that differ least, and what stands for what. */
struct match {
    struct word_list expected, heard;
    int *heard_at;   /* per expected word: index of the heard one that stands for it, or -1 */
    size_t *offsets; /* per heard word: of its written form in the text */
    size_t extra;    /* heard words that stand for none */
};

/* Matches what was heard with what was expected by the least number of changes (Wagner and Fischer), over all
 * ways to read either. Takes time and memory by the product of their words, 20 MB for two of the largest.
 * Free the match with match_free(). */
void score_match(const struct lattice *expected, const struct lattice *heard, struct match *ret);
void match_free(struct match *match);

/* Accuracy of one word, 0–100: both witnesses must be against it to make it wrong (docs/speech.md, "The
 * score"). `fits` = how well the sound fits it (0–1), negative = not known; `confidence` = of the matching
 * heard word, negative = none was heard. */
double score_word(double fits, double confidence);

/* The total, 0–100: the sum of the words' accuracies, divided by their number plus half the number of
 * unexpected words. */
double score_total(const double *accuracy, size_t count, size_t extra);
