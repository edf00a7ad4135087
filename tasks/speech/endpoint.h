/* SPDX-License-Identifier: MIT */
/* Cuts a stream of 16 kHz samples into utterances by an energy rule with an adaptive noise floor. The
 * cuts depend on the samples alone, not on how they were split into calls. One thread per object. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPEECH_RATE 16000 /* samples per second of everything behind the decoding of the input */

/* Called from endpoint_feed() and endpoint_finish(), in the order begin, audio…, end. Positions count
 * samples from the start of the stream; the audio pieces of one utterance follow each other without a
 * gap, each at most ENDPOINT_PIECE samples. */
#define ENDPOINT_PIECE 320
struct endpoint_sink {
    void (*begin)(void *arg, uint64_t start);
    void (*audio)(void *arg, const int16_t *samples, size_t count);
    void (*end)(void *arg, uint64_t end);
};

struct endpoint;

/* `sink` and `arg` are borrowed. */
struct endpoint *endpoint_new(const struct endpoint_sink *sink, void *arg);
/* Processes the next samples, any number of them. */
void endpoint_feed(struct endpoint *ep, const int16_t *samples, size_t count);
/* The stream has ended: closes an open utterance. */
void endpoint_finish(struct endpoint *ep);
void endpoint_free(struct endpoint **ep);
