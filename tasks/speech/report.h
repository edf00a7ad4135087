/* SPDX-License-Identifier: MIT */
/* What a session has heard, and the task's result made of it. One thread. */
#pragma once

#include "hub/base/buf.h"
#include "tasks/speech/words.h"

#include <jansson.h>
#include <stdint.h>

#define REPORT_WARNINGS 8
#define REPORT_WORDS_MAX 10000 /* words in a result; the text has them all */

struct transcript {
    struct buf text; /* of the final pieces */
    struct words words;
    unsigned utterances;    /* those that contained words */
    double duration_s;      /* of the stream */
    uint64_t ignored_bytes; /* of the file, left out */
    const char *engine;
    bool degraded;
    const char *warnings[REPORT_WARNINGS]; /* static words, each once */
    size_t warning_count;
};

/* Adds a final piece: appends its text (empty = no effect) and, if known, its words. */
void transcript_add(struct transcript *transcript, const char *text, const struct words *words);
/* Adds a static word to the result's `warnings`, once. */
void transcript_warn(struct transcript *transcript, const char *warning);
void transcript_free(struct transcript *transcript);
/* Returns the result object, owned by the caller: text, words, duration_s, words_per_minute, pauses,
 * utterances, engine, and where they apply degraded, ignored_bytes and warnings. */
json_t *transcript_result(struct transcript *transcript);
