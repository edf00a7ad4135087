/* SPDX-License-Identifier: MIT */
/* The seam between the session and what turns speech into text. An engine takes utterances (or, if it says
 * so, the whole stream) and returns pieces of text through its host, always from inside one of its own
 * functions. end() and finish() may take as long as the pending work needs; they watch host.stop(). One
 * thread per session. */
#pragma once

#include "tasks/speech/words.h"

#include <stddef.h>
#include <stdint.h>

struct options;

#define PIECE_WORDS_MAX 120 /* words of one piece that an event carries */

/* What was heard in one utterance: so far (final = false, may still change) or in the end. */
struct piece {
    unsigned utterance; /* from 0 */
    bool final;
    bool degraded;             /* not made by the configured engine */
    const char *text;          /* borrowed for the call */
    const struct words *words; /* of final pieces; NULL if the engine gives no times */
    double start, end;         /* range the text was made from, seconds from the start of the stream */
};

struct engine_host {
    const struct options *options;
    const char *language; /* what is spoken: a well-formed tag of BCP 47 */
    void *arg;
    void (*piece)(void *arg, const struct piece *piece);
    bool (*stop)(void *arg); /* the task is cancelled: return soon, the outcome does not matter */
    void (*warn)(void *arg, const char *warning); /* a stable word for the result's `warnings` */
};

/* The bits that work() returns. */
enum engine_load {
    ENGINE_IDLE = 0,
    ENGINE_BUSY = 1,  /* more to compute: call again at once */
    ENGINE_WAITS = 2, /* waiting for something outside: call again soon */
    ENGINE_FULL = 4,  /* pass no audio until work() clears this bit */
};

struct engine {
    const char *name;     /* value of the option speech.engine */
    const char *label;    /* the result's `engine` */
    const char *language; /* the only one it has, whatever the region; NULL = it takes any tag */
    /* Loads what all tasks share, in the parent from which they are forked; NULL = nothing. False and
     * *ret_reason (free()): open() will say it, too. */
    bool (*preload)(const struct options *options, char **ret_reason);
    bool whole_stream; /* gets every sample by audio(), without begin() and end() */
    /* Returns the engine's state; NULL and *ret_reason (free()) if it cannot serve. `host` is borrowed. */
    void *(*open)(const struct engine_host *host, char **ret_reason);
    /* An utterance: its number from 0, its start, its samples, its end. Positions count samples. */
    void (*begin)(void *engine, unsigned utterance, uint64_t start);
    void (*audio)(void *engine, const int16_t *samples, size_t count);
    void (*end)(void *engine, uint64_t end);
    /* Continues pending work for at most about 50 ms, or as long as one transcription of the open utterance
     * takes. Returns bits of enum engine_load. */
    unsigned (*work)(void *engine);
    /* No more audio: delivers all final pieces. False if it was stopped, or failed with *ret_reason. */
    bool (*finish)(void *engine, char **ret_reason); /* NULL = nothing is pending after the last end() */
    void (*close)(void *engine);                     /* at any time; frees it */
};

extern const struct engine engine_builtin, engine_http, engine_exec, engine_moonshine;
