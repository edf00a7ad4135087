/* SPDX-License-Identifier: MIT */
/* WAV files and what becomes of their samples: the same whether they come at once or byte by byte, and
 * never more of them than the bytes can hold. */
#include "tasks/speech/pcm.h"
#include "tasks/speech/resample.h"
#include "tasks/speech/wav.h"
#include "tests/fuzz/fuzz.h"

struct heard {
    struct pcm *pcm;
    struct pcm_format format;
    uint64_t bytes, samples, sum; /* sum: a simple checksum */
};

static void take_samples(void *arg, const int16_t *samples, size_t count)
{
    struct heard *heard = arg;
    heard->samples += count;
    for (size_t i = 0; i < count; i++)
        heard->sum = heard->sum * 31 + (uint16_t)samples[i];
}

static void take_format(void *arg, const struct pcm_format *format)
{
    struct heard *heard = arg;
    HOLDS(heard->pcm == NULL);
    HOLDS(format->channels >= 1 && format->channels <= PCM_CHANNELS_MAX);
    HOLDS(format->rate >= RESAMPLE_RATE_MIN && format->rate <= RESAMPLE_RATE_MAX);
    heard->format = *format;
    heard->pcm = pcm_new(format, take_samples, heard);
}

static void take_data(void *arg, const uint8_t *bytes, size_t size)
{
    struct heard *heard = arg;
    HOLDS(heard->pcm != NULL);
    heard->bytes += size;
    pcm_feed(heard->pcm, bytes, size);
}

static bool hear(const uint8_t *data, size_t size, size_t step, struct heard *heard)
{
    *heard = (struct heard){.pcm = NULL};
    struct wav *wav = wav_new(&(struct wav_sink){heard, take_format, take_data});
    bool good = true;
    for (size_t i = 0; good && i < size; i += step)
        good = wav_feed(wav, data + i, size - i < step ? size - i : step);
    good = good && wav_finish(wav);
    HOLDS(good == (wav_reason(wav) == NULL));
    if (heard->pcm)
        pcm_finish(heard->pcm);
    pcm_free(&heard->pcm);
    wav_free(&wav);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heard whole, pieces;
    bool good = hear(data, size, size + 1, &whole);
    HOLDS(hear(data, size, 3, &pieces) == good);
    HOLDS(whole.bytes == pieces.bytes && whole.samples == pieces.samples && whole.sum == pieces.sum);
    if (whole.bytes) {
        uint64_t frame = pcm_sample_bytes(whole.format.encoding) * (uint64_t)whole.format.channels;
        HOLDS(whole.samples <= whole.bytes / frame * 16000 / whole.format.rate + 1);
    }
    return 0;
}
