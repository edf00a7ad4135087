/* SPDX-License-Identifier: MIT */
/* PCM to 16 kHz mono: sample layouts, mixing, and the resampler's pitch, level and independence of how its
 * input was split. */
#include "tasks/speech/endpoint.h"
#include "tasks/speech/pcm.h"
#include "tasks/speech/resample.h"
#include "tests/lib/tap.h"

#include <math.h>

#define OUT_MAX 40000

struct out {
    int16_t samples[OUT_MAX];
    size_t count;
};
static struct out one, other;

static void take(void *arg, const int16_t *samples, size_t count)
{
    struct out *out = arg;
    for (size_t i = 0; i < count && out->count < OUT_MAX; i++)
        out->samples[out->count++] = samples[i];
}

static void convert(const struct pcm_format *format, const void *bytes, size_t size, size_t step,
                    struct out *out)
{
    out->count = 0;
    struct pcm *pcm = pcm_new(format, take, out);
    for (size_t i = 0; i < size; i += step)
        pcm_feed(pcm, (const uint8_t *)bytes + i, size - i < step ? size - i : step);
    pcm_finish(pcm);
    pcm_free(&pcm);
}

static void test_layouts(void)
{
    static const uint8_t u8[] = {0, 128, 255}, s24[] = {0, 0, 0x80, 0, 0, 0x40},
                         s16[] = {0, 0x80, 0xff, 0x7f};
    static const float f32[] = {0.5F, -2.0F, NAN, INFINITY, 1e30F};
    static const double f64[] = {0.25, -0.25};
    static const int32_t s32[] = {INT32_MIN, 1 << 30};
    convert(&(struct pcm_format){PCM_U8, 16000, 1}, u8, sizeof(u8), 1, &one);
    ok(one.samples[0] == -32768 && one.samples[1] == 0 && one.samples[2] == 32512, "8 bits");
    convert(&(struct pcm_format){PCM_S16, 16000, 1}, s16, sizeof(s16), 3, &one);
    ok(one.samples[0] == -32768 && one.samples[1] == 32767, "16 bits pass unchanged");
    convert(&(struct pcm_format){PCM_S24, 16000, 1}, s24, sizeof(s24), 2, &one);
    ok(one.samples[0] == -32768 && one.samples[1] == 16384, "24 bits");
    convert(&(struct pcm_format){PCM_S32, 16000, 1}, s32, sizeof(s32), 5, &one);
    ok(one.samples[0] == -32768 && one.samples[1] == 16384, "32 bits");
    convert(&(struct pcm_format){PCM_F64, 16000, 1}, f64, sizeof(f64), 7, &one);
    ok(one.samples[0] == 8192 && one.samples[1] == -8192, "64-bit floats");
    convert(&(struct pcm_format){PCM_F32, 16000, 1}, f32, sizeof(f32), 3, &one);
    is_int(one.count, 5, "32-bit floats");
    ok(one.samples[0] == 16384 && one.samples[1] == -32768, "clipped beyond full scale");
    ok(one.samples[2] == 0 && one.samples[3] == 32767 && one.samples[4] == 32767, "no number, endless, huge");
}

static void test_mixing(void)
{
    static const int16_t stereo[] = {1000, 3000, -500, 500, 7, 0};
    convert(&(struct pcm_format){PCM_S16, 16000, 2}, stereo, sizeof(stereo) - 1, 5, &one);
    is_int(one.count, 2, "the frame that is not complete is left out");
    ok(one.samples[0] == 2000 && one.samples[1] == 0, "channels are averaged");
}

static void make_tone(int16_t *samples, size_t count, unsigned rate, double hertz)
{
    for (size_t i = 0; i < count; i++)
        samples[i] = (int16_t)lrint(16000 * sin(2 * M_PI * hertz * (double)i / rate));
}

/* The level of a frequency in the middle of the output, 1 = 16 000. */
static double level_of(const struct out *out, double hertz)
{
    double re = 0, im = 0;
    size_t from = out->count / 4, to = out->count * 3 / 4;
    for (size_t i = from; i < to; i++) {
        double at = 2 * M_PI * hertz * (double)i / SPEECH_RATE;
        re += out->samples[i] * cos(at);
        im += out->samples[i] * sin(at);
    }
    return 2 * sqrt(re * re + im * im) / (double)(to - from) / 16000;
}

static void test_resampling(void)
{
    static const unsigned rates[] = {4000, 8000, 11025, 22050, 44100, 48000, 96000, 191999};
    static int16_t tone[200000];
    for (size_t i = 0; i < NELEMS(rates); i++) {
        unsigned rate = rates[i];
        size_t count = rate;
        make_tone(tone, count, rate, 1000);
        struct pcm_format format = {PCM_S16, rate, 1};
        convert(&format, tone, count * 2, 4096, &one);
        ok(one.count >= 15999 && one.count <= 16001, "%u Hz: a second stays a second (%zu)", rate, one.count);
        double level = level_of(&one, 1000);
        ok(level > 0.98 && level < 1.02, "%u Hz: pitch and level stay (%.3f)", rate, level);
        convert(&format, tone, count * 2, 333, &other);
        ok(one.count == other.count && memcmp(one.samples, other.samples, one.count * 2) == 0,
           "%u Hz: the same however it is split", rate);
    }
    make_tone(tone, 48000, 48000, 11000);
    convert(&(struct pcm_format){PCM_S16, 48000, 1}, tone, 96000, 4096, &one);
    ok(level_of(&one, 5000) < 0.001, "what is too high for 16 kHz does not come back as an alias");
}

int main(void)
{
    test_layouts();
    test_mixing();
    test_resampling();
    return done_testing();
}
