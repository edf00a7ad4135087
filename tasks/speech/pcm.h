/* SPDX-License-Identifier: MIT */
/* Linear PCM in any common layout to 16 kHz mono samples: decoding, mixing of channels (their mean),
 * resampling. Bounded memory. One thread per object. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <stdint.h>

#define PCM_CHANNELS_MAX 8

enum pcm_encoding { PCM_U8, PCM_S16, PCM_S24, PCM_S32, PCM_F32, PCM_F64, PCM_ENCODINGS };

struct pcm_format {
    enum pcm_encoding encoding; /* little endian */
    unsigned rate;              /* RESAMPLE_RATE_MIN … RESAMPLE_RATE_MAX */
    unsigned channels;          /* 1 … PCM_CHANNELS_MAX */
};

/* Bytes of one sample. */
unsigned pcm_sample_bytes(enum pcm_encoding encoding);

struct pcm;

/* A format outside its bounds is the caller's error. */
struct pcm *pcm_new(const struct pcm_format *format,
                    void (*out)(void *arg, const int16_t *samples, size_t count), void *arg);
/* Bytes may end inside a sample; the rest is waited for. */
void pcm_feed(struct pcm *pcm, const uint8_t *bytes, size_t size);
void pcm_finish(struct pcm *pcm);
void pcm_free(struct pcm **pcm);
