/* SPDX-License-Identifier: MIT */
/* Decodes audio of any kind to 16 kHz mono samples, in a fenced ffmpeg that can read only its pipe. One
 * thread per object. */
#pragma once

#include "tasks/speech/failure.h"
#include "tasks/speech/sniff.h"

#define INPUT_SECONDS_MAX 3600 /* audio beyond is left out, with a warning */

struct media_sink {
    void *arg;
    void (*samples)(void *arg, const int16_t *samples, size_t count); /* borrowed for the call */
    void (*warn)(void *arg, const char *warning);                     /* a stable word */
};

struct media;

/* Opens a decoder. `source` and `sink` are copied; the source's kind must be known. `failure` is borrowed
 * and set once no more samples will come. */
struct media *media_open(const struct media_source *source, const struct media_sink *sink,
                         struct input_failure *failure);
/* Queues the next bytes of the file for media_work(). */
void media_feed(struct media *media, const uint8_t *bytes, size_t size);
/* No more bytes will come. */
void media_finish(struct media *media);
/* Like input_work(): feeds ffmpeg and gives the sink what it has decoded. Never blocks. */
unsigned media_work(struct media *media);
/* Bytes so far that ffmpeg did not want to read. */
uint64_t media_ignored(const struct media *media);
/* Kills ffmpeg; NULL is fine. */
void media_close(struct media **media);
