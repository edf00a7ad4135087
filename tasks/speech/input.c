/* SPDX-License-Identifier: MIT */
/* The way from bytes to samples. Owns the decoder that the declared format or the first bytes choose, and
 * the bytes seen before it is chosen; counts samples and ends the audio at its longest. */
#include "tasks/speech/input.h"

#include "tasks/speech/endpoint.h"
#include "tasks/speech/engine.h"
#include "tasks/speech/media.h"
#include "tasks/speech/pcm.h"
#include "tasks/speech/sniff.h"
#include "tasks/speech/wav.h"

#include <stdio.h>

#define SAMPLES_MAX ((uint64_t)INPUT_SECONDS_MAX * SPEECH_RATE)

struct input {
    struct input_sink sink;
    bool sniffing; /* no decoder yet */
    bool raw_name;
    uint8_t first[SNIFF_BYTES];
    size_t first_size;
    struct pcm *pcm;
    struct wav *wav;
    struct media *media;
    uint64_t samples;
    struct input_failure failure;
};

void input_fail(struct input_failure *failure, const char *code, const char *message)
{
    if (failure->code)
        return;
    failure->code = code;
    snprintf(failure->message, sizeof(failure->message), "%s", message);
}

/* Passes samples on until the audio is as long as it may be. */
static void give(void *arg, const int16_t *samples, size_t count)
{
    struct input *it = arg;
    uint64_t room = SAMPLES_MAX - it->samples;
    if (count > room) {
        count = (size_t)room;
        it->sink.warn(it->sink.arg, "audio_cut");
    }
    it->samples += count;
    if (count)
        it->sink.samples(it->sink.arg, samples, count);
}

static void warn(void *arg, const char *warning)
{
    struct input *it = arg;
    it->sink.warn(it->sink.arg, warning);
}

static void open_pcm(void *arg, const struct pcm_format *format)
{
    struct input *it = arg;
    it->pcm = pcm_new(format, give, it);
}

static void give_data(void *arg, const uint8_t *bytes, size_t size)
{
    struct input *it = arg;
    pcm_feed(it->pcm, bytes, size);
}

static unsigned number(const json_t *object, const char *name, unsigned otherwise)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? (unsigned)json_integer_value(value) : otherwise;
}

struct input *input_open(const json_t *format, const struct input_sink *sink)
{
    struct input *it = xcalloc(1, sizeof(*it));
    it->sink = *sink;
    const char *encoding = json_string_value(json_object_get(format, "encoding"));
    if (encoding && strcmp(encoding, "file") == 0) {
        it->sniffing = true;
        it->raw_name = sniff_raw_name(json_string_value(json_object_get(format, "name")));
        return it;
    }
    open_pcm(it, &(struct pcm_format){.encoding = PCM_S16,
                                      .rate = number(format, "sample_rate", SPEECH_RATE),
                                      .channels = number(format, "channels", 1)});
    return it;
}

static void feed_decoder(struct input *it, const uint8_t *bytes, size_t size)
{
    if (it->failure.code)
        return;
    if (it->media)
        media_feed(it->media, bytes, size);
    else if (it->wav && !wav_feed(it->wav, bytes, size))
        input_fail(&it->failure, "bad_audio", wav_reason(it->wav));
    else if (!it->wav && it->pcm)
        pcm_feed(it->pcm, bytes, size);
}

/* Enough has come, or everything: chooses the decoder. */
static void choose(struct input *it)
{
    enum media_kind kind = sniff_media(it->first, it->first_size);
    it->sniffing = false;
    if (kind != MEDIA_WAV)
        open_pcm(it, &(struct pcm_format){PCM_S16, SPEECH_RATE, 1});
    if (kind == MEDIA_WAV)
        it->wav = wav_new(&(struct wav_sink){it, open_pcm, give_data});
    else if (kind != MEDIA_UNKNOWN)
        it->media = media_open(kind, &(struct media_sink){it, give_data, warn}, &it->failure);
    else if (!it->raw_name && it->first_size == 0)
        input_fail(&it->failure, "no_audio", "The file is empty");
    else if (!it->raw_name)
        input_fail(&it->failure, "unsupported_media",
                   "The file is no WAV, WebM, Ogg, MP3, MP4, FLAC or AAC audio");
    feed_decoder(it, it->first, it->first_size);
}

void input_feed(struct input *it, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    if (it->sniffing) {
        size_t n = SNIFF_BYTES - it->first_size < size ? SNIFF_BYTES - it->first_size : size;
        memcpy(it->first + it->first_size, p, n);
        it->first_size += n;
        p += n;
        size -= n;
        if (it->first_size < SNIFF_BYTES)
            return;
        choose(it);
    }
    feed_decoder(it, p, size);
}

void input_finish(struct input *it)
{
    if (it->sniffing)
        choose(it);
    if (it->media)
        media_finish(it->media);
    else if (it->wav && !wav_finish(it->wav))
        input_fail(&it->failure, "bad_audio", wav_reason(it->wav));
    else if (it->pcm)
        pcm_finish(it->pcm);
}

unsigned input_work(struct input *it)
{
    return it->media ? media_work(it->media) : ENGINE_IDLE;
}

const struct input_failure *input_failure(const struct input *input)
{
    return input->failure.code ? &input->failure : NULL;
}

void input_close(struct input **input)
{
    if (*input == NULL)
        return;
    pcm_free(&(*input)->pcm);
    wav_free(&(*input)->wav);
    media_close(&(*input)->media);
    free(*input);
    *input = NULL;
}
