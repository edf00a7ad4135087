/* SPDX-License-Identifier: MIT */
/* A streaming parser of WAV headers: finds the format and the sample data, trusts no size it reads. Takes
 * PCM of 8, 16, 24 and 32 bits and floats of 32 and 64, plain or "extensible". One thread per object. */
#pragma once

#include "tasks/speech/pcm.h"

struct wav_sink {
    void *arg;
    void (*format)(void *arg, const struct pcm_format *format); /* once, before data */
    void (*data)(void *arg, const uint8_t *bytes, size_t size);
};

struct wav;

struct wav *wav_new(const struct wav_sink *sink); /* copied */
/* Takes the next bytes. False if this is no WAV file we can read; then wav_reason() says why. */
bool wav_feed(struct wav *wav, const uint8_t *bytes, size_t size) MUSTCHECK;
/* The stream has ended: false if there was no sample data at all. */
bool wav_finish(struct wav *wav) MUSTCHECK;
/* English text; NULL while all is well. */
const char *wav_reason(const struct wav *wav);
void wav_free(struct wav **wav);
