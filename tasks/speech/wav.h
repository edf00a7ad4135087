/* SPDX-License-Identifier: MIT */
/* Reads a WAV file (RIFF, RF64, BW64) as it comes: what kind of samples it holds, and those samples. One
 * thread per object. */
#pragma once

#include "tasks/speech/failure.h"
#include "tasks/speech/sniff.h"

struct wav_sink {
    void *arg;
    /* Called once, before data(): raw samples, or MEDIA_WAV where only a decoder of WAV files reads them (the
     * data then begins with a header made anew). */
    void (*format)(void *arg, const struct media_source *source);
    void (*data)(void *arg, const uint8_t *bytes, size_t size); /* borrowed for the call */
    void (*warn)(void *arg, const char *warning);               /* a stable word */
};

struct wav;

/* `sink` is copied. `failure` is borrowed and set once nothing more will come. */
struct wav *wav_open(const struct wav_sink *sink, struct input_failure *failure);
/* Takes the next bytes of the file, from its first one on. */
void wav_feed(struct wav *wav, const uint8_t *bytes, size_t size);
/* No more bytes will come. */
void wav_finish(struct wav *wav);
/* NULL is fine. */
void wav_close(struct wav **wav);
