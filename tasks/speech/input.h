/* SPDX-License-Identifier: MIT */
/* Turns the task's stream of bytes into 16 kHz mono samples: such PCM passes through, a fenced ffmpeg
 * converts anything else. The declared format and the first bytes decide which. One thread. */
#pragma once

#include "tasks/speech/failure.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct input_sink {
    void *arg;
    void (*samples)(void *arg, const int16_t *samples, size_t count); /* borrowed for the call */
    void (*warn)(void *arg, const char *warning);                     /* a stable word */
};

struct input;

/* Opens the input. `format` is the task's argument {encoding, sample_rate?, channels?, name?}, checked;
 * NULL = 16 kHz PCM; not kept. `sink` is copied. */
struct input *input_open(const json_t *format, const struct input_sink *sink);
/* Takes the next bytes; samples come out at once or from input_work(). */
void input_feed(struct input *input, const void *bytes, size_t size);
/* Ends the stream: input_work() delivers the rest. */
void input_finish(struct input *input);
/* Continues pending work. Returns bits of enum engine_load (engine.h); after input_finish() ENGINE_IDLE
 * means that everything came out. */
unsigned input_work(struct input *input);
/* Whether everything that came out was silence. */
bool input_silent(const struct input *input);
/* Bytes of the file that were left out. */
uint64_t input_ignored(const struct input *input);
/* Why the input cannot be read, NULL while it can. */
const struct input_failure *input_failure(const struct input *input);
void input_close(struct input **input);
