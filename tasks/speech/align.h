/* SPDX-License-Identifier: MIT */
/* Where in a recording the words of a known text were spoken. One thread. */
#pragma once

#include "tasks/speech/normalize.h"
#include "tasks/speech/words.h"

#include <stdint.h>

struct align_cut { /* a place where both text and recording can be cut */
    size_t word;   /* the first expected word after it */
    double at;     /* seconds */
};

struct align_job { /* borrowed during the call */
    const struct word_list *expected;
    size_t reached; /* the words from this one on may not have been read at all */
    const struct align_cut *cuts;
    size_t cut_count;
    const int16_t *samples; /* 16 kHz */
    size_t count;
    bool once;               /* no second try, a wider and much dearer one */
    bool (*stop)(void *arg); /* true: give up */
    void *arg;
};

/* Appends one entry per expected word: start, end and, as confidence, how well the sound fits (0–1). A
 * word without a place ends at 0; its confidence is −1, or 0 if it follows the last word read. Returns the
 * number of words with a place. Takes about 0.05 s per second of samples. Call
 * sphinx_load_aligner() first. */
size_t align_words(const struct align_job *job, struct words *ret_words);
