/* SPDX-License-Identifier: MIT */
/* The resampler. Owns the filter table and the input that later outputs still need; knows no format. */
#include "tasks/speech/resample.h"

#include "hub/base/mem.h"
#include "tasks/speech/endpoint.h"

#include <math.h>

#define PHASES 128
#define CROSSINGS 16
#define PASS_BAND 0.9
#define KAISER_BETA 8.0

struct resampler {
    unsigned rate;
    void (*out)(void *arg, const float *samples, size_t count);
    void *arg;
    float *table; /* [PHASES + 1][2 * half] */
    size_t half;  /* taps on each side of the centre */
    float *input; /* the samples from number `first` on */
    size_t count, capacity;
    uint64_t first; /* number of input[0]; the stream starts behind `half` zeros */
    uint64_t total; /* samples fed */
    uint64_t next;  /* number of the next output */
    float piece[RESAMPLE_PIECE];
    size_t filled;
};

/* Modified Bessel function of the first kind, order zero. */
static double bessel(double x)
{
    double sum = 1, term = 1;
    for (int k = 1; k < 50; k++) {
        term *= (x / (2 * k)) * (x / (2 * k));
        sum += term;
    }
    return sum;
}

/* The filter at `distance` input samples from its centre. */
static double filter(double distance, double cutoff, double half)
{
    double t = distance / half;
    if (fabs(t) >= 1)
        return 0;
    double window = bessel(KAISER_BETA * sqrt(1 - t * t)) / bessel(KAISER_BETA);
    double x = M_PI * cutoff * distance;
    return cutoff * (fabs(x) < 1e-9 ? 1 : sin(x) / x) * window;
}

struct resampler *resampler_new(unsigned rate, void (*out)(void *arg, const float *samples, size_t count),
                                void *arg)
{
    struct resampler *it = xcalloc(1, sizeof(*it));
    double cutoff = PASS_BAND * (rate > SPEECH_RATE ? (double)SPEECH_RATE / rate : 1);
    it->rate = rate;
    it->out = out;
    it->arg = arg;
    it->half = (size_t)ceil(CROSSINGS / cutoff);
    size_t taps = 2 * it->half;
    it->table = xcalloc((PHASES + 1) * taps, sizeof(float));
    for (size_t phase = 0; phase <= PHASES; phase++)
        for (size_t k = 0; k < taps; k++) {
            double distance = (double)k - (double)(it->half - 1) - (double)phase / PHASES;
            it->table[phase * taps + k] = (float)filter(distance, cutoff, (double)it->half);
        }
    it->capacity = 4 * taps + 4096;
    it->input = xcalloc(it->capacity, sizeof(float));
    it->count = it->half - 1; /* zeros before the start */
    return it;
}

void resampler_free(struct resampler **resampler)
{
    if (*resampler == NULL)
        return;
    free((*resampler)->table);
    free((*resampler)->input);
    free(*resampler);
    *resampler = NULL;
}

static void flush(struct resampler *it)
{
    if (it->filled)
        it->out(it->arg, it->piece, it->filled);
    it->filled = 0;
}

/* One output whose first tap is input[at], `fraction`/SPEECH_RATE of a sample on. */
static float convolve(const struct resampler *it, size_t at, unsigned fraction)
{
    size_t taps = 2 * it->half;
    double position = (double)fraction * PHASES / SPEECH_RATE;
    size_t phase = (size_t)position;
    float between = (float)(position - (double)phase);
    const float *low = it->table + phase * taps, *high = low + taps, *x = it->input + at;
    float sum = 0;
    for (size_t k = 0; k < taps; k++)
        sum += x[k] * (low[k] + between * (high[k] - low[k]));
    return sum;
}

/* Computes the outputs before number `end` that the input allows for. */
static void produce(struct resampler *it, uint64_t end)
{
    size_t taps = 2 * it->half, at = 0;
    for (; it->next < end; it->next++) {
        uint64_t position = it->next * it->rate;
        at = (size_t)(position / SPEECH_RATE - it->first);
        if (at + taps > it->count)
            break;
        it->piece[it->filled++] = convolve(it, at, (unsigned)(position % SPEECH_RATE));
        if (it->filled == RESAMPLE_PIECE)
            flush(it);
    }
    at = (size_t)(it->next * it->rate / SPEECH_RATE - it->first);
    if (at > it->count)
        at = it->count;
    memmove(it->input, it->input + at, (it->count - at) * sizeof(float));
    it->count -= at;
    it->first += at;
}

void resampler_feed(struct resampler *it, const float *samples, size_t count)
{
    while (count) {
        size_t n = it->capacity - it->count < count ? it->capacity - it->count : count;
        memcpy(it->input + it->count, samples, n * sizeof(float));
        it->count += n;
        it->total += n;
        samples += n;
        count -= n;
        produce(it, UINT64_MAX);
    }
}

void resampler_finish(struct resampler *it)
{
    uint64_t total = it->total, end = (total * SPEECH_RATE + it->rate - 1) / it->rate;
    static const float silence[256];
    for (size_t owed = it->half + 1; owed > 0 && it->next < end;) {
        size_t n = owed < NELEMS(silence) ? owed : NELEMS(silence);
        memcpy(it->input + it->count, silence, n * sizeof(float));
        it->count += n;
        owed -= n;
        produce(it, end);
    }
    flush(it);
}
