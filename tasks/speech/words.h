/* SPDX-License-Identifier: MIT */
/* A list of spoken words with times and confidence: what engines find and reports hold. One thread. */
#pragma once

#include "hub/base/mem.h"

#include <jansson.h>
#include <stdbool.h>

#define WORD_MAX 63 /* bytes of one word; longer ones are cut between characters */

#define WORDS_TIME_MAX 1e6 /* seconds; what an engine says beyond is nonsense */

struct word {
    char text[WORD_MAX + 1];
    double start, end; /* seconds from the start of the stream */
    double confidence; /* 0–1; negative = unknown */
    bool estimated;    /* its times are */
};

struct words { /* initialise with WORDS_INIT, free with spoken_free() */
    struct word *list;
    size_t count, capacity;
};

#define WORDS_INIT ((struct words){NULL, 0, 0})

/* Appends a word; its fields may be set afterwards through the returned pointer, valid until the next
 * change. `text` need not end with a NUL. */
struct word *spoken_add(struct words *words, const char *text, size_t length);
/* Appends the words of `more`. */
void spoken_append(struct words *words, const struct words *more);
/* Frees the list; it is empty and usable again. */
void spoken_free(struct words *words);
/* Splits text that came without times and spreads its words over start…end by their length; so these times
 * are estimated. */
void spoken_spread(struct words *words, const char *text, double start, double end);
/* Appends the words that transcription servers and commands send: `words` of the object or of its
 * `segments`, items {word, start, end, confidence or probability}; times are shifted by `offset`.
 * Malformed items are skipped. */
void spoken_read_json(struct words *words, const json_t *object, double offset);
/* The words separated by spaces (free()). */
char *spoken_text(const struct words *words);
/* [{word, start, end, confidence?, estimated?}…] with times in hundredths, at most `max` of them; the
 * caller's. */
json_t *spoken_json(const struct words *words, size_t max);
/* A JSON number rounded to hundredths. */
json_t *json_hundredths(double value);
