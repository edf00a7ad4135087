/* Where in a recording the words of a known text were spoken. One thread. */
#pragma once

#include "tasks/speech/normalize.h"
#include "tasks/speech/words.h"

#include <stdint.h>

/* Aligns the first `count` words of `expected` with the samples: *ret_words gets one entry per word with
 * start, end and, as confidence, how well the sound fits. Tries a wide search when the usual one fails.
 * False if the words are not in the recording in this order, or when stopped. */
bool align_words(const struct word_list *expected, size_t count, const int16_t *samples, size_t sample_count,
                 bool (*stop)(void *arg), void *arg, struct words *ret_words) MUSTCHECK;
