/* SPDX-License-Identifier: MIT */
/* Brings mono audio of any rate to 16 kHz: a windowed sinc (Kaiser, 16 zero crossings a side, pass band to
 * 0.9 of the lower Nyquist frequency) in 128 phases with linear interpolation between them. Positions are
 * exact fractions, so the output does not depend on how the input was split. One thread per object. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RESAMPLE_RATE_MIN 4000
#define RESAMPLE_RATE_MAX 192000

struct resampler;

/* `rate` within the bounds above. Samples in and out are in −1…1; `out` gets at most RESAMPLE_PIECE at a
 * time. */
#define RESAMPLE_PIECE 1024
struct resampler *resampler_new(unsigned rate, void (*out)(void *arg, const float *samples, size_t count),
                                void *arg);
void resampler_feed(struct resampler *resampler, const float *samples, size_t count);
/* Gives what the last samples still owe. */
void resampler_finish(struct resampler *resampler);
void resampler_free(struct resampler **resampler);
