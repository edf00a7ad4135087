/* SPDX-License-Identifier: MIT */
/* The recogniser library, hidden behind one file: nothing else includes its headers. A process holds at
 * most one aligner and one dictation decoder, loaded once by the parent from which children are forked; a
 * child uses them for one task. One thread per process. */
#pragma once

#include "tasks/speech/words.h"

#include <stdint.h>

/* Loads model and dictionary for alignment unless already loaded. False and *ret_reason (free()) if they are
 * missing. */
bool sphinx_load_aligner(char **ret_reason) MUSTCHECK;
/* The same, and what dictation needs: another model and the language model, 60 MB (about 0.5 s). */
bool sphinx_load(char **ret_reason) MUSTCHECK;

/* ---- dictation ---- */

#define SPHINX_CEPSTRA 13
/* The voice's spectral mean, on which the quality of recognition depends (see engine_builtin.c). */
struct sphinx_mean {
    double sum[SPHINX_CEPSTRA];
    double frames; /* of 10 ms */
};

/* Adds the frames of a piece of speech. Not within sphinx_aligner_run(). */
void sphinx_mean_add(struct sphinx_mean *mean, const int16_t *samples, size_t count);
/* Starts an utterance; with no frames in `mean` the model's own mean is used. */
void sphinx_begin(const struct sphinx_mean *mean);
/* Decodes samples. The text depends on how an utterance is split into calls, so use fixed pieces. */
void sphinx_audio(const int16_t *samples, size_t count);
/* The words recognised so far, separated by spaces; the caller frees the text. */
char *sphinx_partial(void);
/* Ends the utterance and appends its words; times count from `offset` seconds. */
void sphinx_end(double offset, struct words *ret_words);

/* ---- alignment ---- */

struct sphinx_aligner;

#define SPHINX_ALIGN_BEAM 1e-80 /* the usual width; sphinx_load_aligner() has loaded one such search */

/* Makes a search of this width (smaller numbers search wider) for the voice with this mean; loading one
 * takes some tenths of a second. NULL if that fails. `mean` is copied. */
struct sphinx_aligner *sphinx_aligner_new(double beam, const struct sphinx_mean *mean);
/* Finds where each of `words` ([a-z'] only) was spoken in the samples. Fills start, end and confidence (how
 * well the sound fits the word, 0–1). False if the words cannot be found in this order. `stop` is asked
 * about every second of audio and ends the search when true. Time grows with words times samples. */
bool sphinx_aligner_run(struct sphinx_aligner *aligner, struct words *words, const int16_t *samples,
                        size_t count, bool (*stop)(void *arg), void *arg) MUSTCHECK;
/* NULL is fine. */
void sphinx_aligner_free(struct sphinx_aligner **aligner);
