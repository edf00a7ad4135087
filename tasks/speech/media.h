/* SPDX-License-Identifier: MIT */
/* Decodes a container to 16 kHz mono samples in a fenced ffmpeg that may read its pipe and nothing else.
 * One thread per object. */
#pragma once

#include "tasks/speech/input.h"
#include "tasks/speech/sniff.h"

struct media;

/* `kind` is none of MEDIA_UNKNOWN and MEDIA_WAV; `sink` is copied. */
struct media *media_open(enum media_kind kind, const struct input_sink *sink);
void media_feed(struct media *media, const uint8_t *bytes, size_t size);
void media_finish(struct media *media);
/* As input_work(). */
unsigned media_work(struct media *media);
/* Why there will be no more samples; NULL while there may be, or when all is well. */
const struct input_failure *media_failure(const struct media *media);
void media_close(struct media **media);
