/* SPDX-License-Identifier: MIT */
/* The seam between the session and what turns speech into text. An engine takes utterances (or, if it
 * says so, the whole stream) and gives pieces of text back through its host, always from inside one of
 * its own functions. end() and finish() may take as long as what is pending; they watch host.stop(). One
 * thread per session. */
#pragma once

#include "tasks/speech/words.h"

#include <stddef.h>
#include <stdint.h>

struct options;

#define PIECE_WORDS_MAX 120 /* words of one piece that an event carries */

/* What was heard in one utterance so far (final = false: may still change) or at last. */
struct piece {
    unsigned utterance; /* from 0 */
    bool final;
    bool degraded;             /* made by another engine than the configured one */
    const char *text;          /* borrowed for the call */
    const struct words *words; /* of final pieces; NULL if the engine gives no times */
    double start, end;         /* of what the text was made from, seconds from the start of the stream */
};

struct engine_host {
    const struct options *options;
    void *arg;
    void (*piece)(void *arg, const struct piece *piece);
    bool (*stop)(void *arg); /* the task is cancelled: return soon, the outcome does not matter */
    void (*warn)(void *arg, const char *warning); /* a stable word for the result's `warnings` */
};

/* What work() says, as bits. */
enum engine_load {
    ENGINE_IDLE = 0,
    ENGINE_BUSY = 1,  /* more to compute: call again at once */
    ENGINE_WAITS = 2, /* something outside is at work: call again soon */
    ENGINE_FULL = 4,  /* bring no audio before work() says otherwise */
};

struct engine {
    const char *name;  /* value of the option speech.engine */
    const char *label; /* the result's `engine` */
    bool whole_stream; /* takes every sample by audio(), without begin() and end() */
    /* NULL and *ret_reason (free()) if it cannot serve. `host` is borrowed. */
    void *(*open)(const struct engine_host *host, char **ret_reason);
    /* Utterances: their number from 0, where they start and end in samples, what was said between. */
    void (*begin)(void *engine, unsigned utterance, uint64_t start);
    void (*audio)(void *engine, const int16_t *samples, size_t count);
    void (*end)(void *engine, uint64_t end);
    /* Goes on with what is pending, for at most about 50 ms. The bits of enum engine_load. */
    unsigned (*work)(void *engine);
    /* No more audio: gives all final pieces. False if it was stopped, or broke down with *ret_reason. */
    bool (*finish)(void *engine, char **ret_reason); /* NULL = nothing is left after the last end() */
    void (*close)(void *engine);                     /* at any time; frees it */
};

extern const struct engine engine_builtin, engine_http, engine_exec;
