/* SPDX-License-Identifier: MIT */
/* The PCM converter. Owns the resampler and a piece of a sample frame; knows no container. */
#include "tasks/speech/pcm.h"

#include "tasks/speech/endpoint.h"
#include "tasks/speech/resample.h"

#include <math.h>

#define PIECE 512 /* frames decoded at a time */
#define FRAME_BYTES_MAX (PCM_CHANNELS_MAX * 8)

struct pcm {
    struct pcm_format format;
    size_t frame_bytes;
    float (*decode)(const uint8_t *bytes);
    void (*out)(void *arg, const int16_t *samples, size_t count);
    void *arg;
    struct resampler *resampler; /* NULL at 16 kHz */
    uint8_t rest[FRAME_BYTES_MAX];
    size_t rest_size;
};

/* ---- one sample ---- */

static uint32_t little_endian(const uint8_t *bytes, size_t count)
{
    uint32_t value = 0;
    for (size_t i = 0; i < count; i++)
        value |= (uint32_t)bytes[i] << (8 * i);
    return value;
}

static float decode_u8(const uint8_t *bytes)
{
    return (float)(bytes[0] - 128) / 128;
}

static float decode_s16(const uint8_t *bytes)
{
    return (float)(int16_t)little_endian(bytes, 2) / 32768;
}

static float decode_s24(const uint8_t *bytes)
{
    return (float)((double)(int32_t)(little_endian(bytes, 3) << 8) / 2147483648.0);
}

static float decode_s32(const uint8_t *bytes)
{
    return (float)((double)(int32_t)little_endian(bytes, 4) / 2147483648.0);
}

/* What is no number or beyond all bounds must not spread through the filter. */
static float tame(double value)
{
    return isnan(value) ? 0 : (float)fmax(-4, fmin(4, value));
}

static float decode_f32(const uint8_t *bytes)
{
    float value;
    memcpy(&value, bytes, sizeof(value));
    return tame((double)value);
}

static float decode_f64(const uint8_t *bytes)
{
    double value;
    memcpy(&value, bytes, sizeof(value));
    return tame(value);
}

static const struct {
    unsigned bytes;
    float (*decode)(const uint8_t *bytes);
} encodings[PCM_ENCODINGS] = {
    [PCM_U8] = {1, decode_u8},   [PCM_S16] = {2, decode_s16}, [PCM_S24] = {3, decode_s24},
    [PCM_S32] = {4, decode_s32}, [PCM_F32] = {4, decode_f32}, [PCM_F64] = {8, decode_f64},
};

unsigned pcm_sample_bytes(enum pcm_encoding encoding)
{
    return encodings[encoding].bytes;
}

/* ---- the stream ---- */

static void give_samples(void *arg, const float *samples, size_t count)
{
    struct pcm *it = arg;
    int16_t whole[RESAMPLE_PIECE];
    for (size_t i = 0; i < count; i++)
        whole[i] = (int16_t)lrintf(fmaxf(-32768, fminf(32767, samples[i] * 32768)));
    it->out(it->arg, whole, count);
}

struct pcm *pcm_new(const struct pcm_format *format,
                    void (*out)(void *arg, const int16_t *samples, size_t count), void *arg)
{
    struct pcm *it = xcalloc(1, sizeof(*it));
    it->format = *format;
    it->decode = encodings[format->encoding].decode;
    it->frame_bytes = (size_t)encodings[format->encoding].bytes * format->channels;
    it->out = out;
    it->arg = arg;
    if (format->rate != SPEECH_RATE)
        it->resampler = resampler_new(format->rate, give_samples, it);
    return it;
}

void pcm_free(struct pcm **pcm)
{
    if (*pcm == NULL)
        return;
    resampler_free(&(*pcm)->resampler);
    free(*pcm);
    *pcm = NULL;
}

static float mix_frame(const struct pcm *it, const uint8_t *frame)
{
    size_t step = it->frame_bytes / it->format.channels;
    float sum = 0;
    for (size_t c = 0; c < it->format.channels; c++)
        sum += it->decode(frame + c * step);
    return sum / (float)it->format.channels;
}

static void take_frames(struct pcm *it, const uint8_t *frames, size_t count)
{
    float mono[PIECE];
    while (count) {
        size_t n = count < PIECE ? count : PIECE;
        for (size_t i = 0; i < n; i++)
            mono[i] = mix_frame(it, frames + i * it->frame_bytes);
        if (it->resampler)
            resampler_feed(it->resampler, mono, n);
        else
            give_samples(it, mono, n);
        frames += n * it->frame_bytes;
        count -= n;
    }
}

void pcm_feed(struct pcm *it, const uint8_t *bytes, size_t size)
{
    if (it->rest_size) {
        size_t n = it->frame_bytes - it->rest_size < size ? it->frame_bytes - it->rest_size : size;
        memcpy(it->rest + it->rest_size, bytes, n);
        it->rest_size += n;
        bytes += n;
        size -= n;
        if (it->rest_size < it->frame_bytes)
            return;
        take_frames(it, it->rest, 1);
        it->rest_size = 0;
    }
    take_frames(it, bytes, size / it->frame_bytes);
    it->rest_size = size % it->frame_bytes;
    memcpy(it->rest, bytes + size - it->rest_size, it->rest_size);
}

void pcm_finish(struct pcm *it)
{
    if (it->resampler)
        resampler_finish(it->resampler);
}
