/* SPDX-License-Identifier: MIT */
/* How well a given text was read: the recognised words against the expected ones, and the sound against
 * each expected word by forced alignment. One thread. */
#pragma once

#include "tasks/speech/words.h"

#include <stdint.h>

#define SCORING_WORDS_MAX 1000 /* words of an expected text that are scored */

struct scoring_input { /* borrowed during the call */
    const char *expected;
    const struct words *heard;
    const int16_t *samples; /* of the whole stream at 16 kHz; NULL = too long to align */
    size_t count;
};

/* An object {score, accuracy: [{word, accuracy, start?, end?}…], extra_words, alignment} for the task's
 * result, the caller's; docs/speech.md says what the figures mean. `warn` takes stable words. NULL when
 * stopped. */
json_t *scoring_run(const struct scoring_input *in, bool (*stop)(void *arg),
                    void (*warn)(void *arg, const char *warning), void *arg);
