/* SPDX-License-Identifier: MIT */
/* From bytes to samples. Owns the decoder, if the declared format or the first bytes call for one, and the
 * bytes seen before that is known; counts samples and cuts the audio at its maximum length. One thread.
 * Never blocks. */
#include "tasks/speech/input.h"

#include "hub/base/buf.h"
#include "tasks/speech/endpoint.h"
#include "tasks/speech/engine.h"
#include "tasks/speech/media.h"
#include "tasks/speech/sniff.h"

#include <endian.h>
#include <stdio.h>

#define SAMPLES_MAX ((uint64_t)INPUT_SECONDS_MAX * SPEECH_RATE)

struct input {
    struct input_sink sink;
    bool sniffing; /* more bytes are needed to tell the format */
    bool raw_name;
    uint8_t first[SNIFF_BYTES];
    size_t first_size;
    struct media *media; /* NULL = the bytes are samples */
    struct buf pcm;      /* s16le, starts at a whole sample */
    uint64_t left;       /* bytes of sound still to come; a WAV file may have other data after its samples */
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

/* Passes samples on until the audio reaches its maximum length. */
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

static void give_pcm(void *arg, const uint8_t *bytes, size_t size)
{
    struct input *it = arg;
    buf_append(&it->pcm, bytes, size);
    int16_t *samples = (int16_t *)(void *)it->pcm.data;
    size_t count = it->pcm.len / sizeof(*samples);
    for (size_t i = 0; i < count; i++)
        samples[i] = (int16_t)le16toh((uint16_t)samples[i]);
    give(it, samples, count);
    buf_consume(&it->pcm, count * sizeof(*samples));
}

/* Opens a decoder unless the bytes already are samples of the right form. */
static void open_decoder(struct input *it, const struct media_source *source)
{
    if (source->kind != MEDIA_PCM || source->rate != SPEECH_RATE || source->channels != 1)
        it->media = media_open(source, &(struct media_sink){it, give_pcm, warn}, &it->failure);
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
    it->left = UINT64_MAX;
    const char *encoding = json_string_value(json_object_get(format, "encoding"));
    if (encoding && strcmp(encoding, "file") == 0) {
        it->sniffing = true;
        it->raw_name = sniff_raw_name(json_string_value(json_object_get(format, "name")));
        return it;
    }
    open_decoder(it, &(struct media_source){MEDIA_PCM, number(format, "sample_rate", SPEECH_RATE),
                                            number(format, "channels", 1)});
    return it;
}

static void feed_decoder(struct input *it, const uint8_t *bytes, size_t size)
{
    if (size > it->left)
        size = (size_t)it->left;
    it->left -= size;
    if (it->media)
        media_feed(it->media, bytes, size);
    else if (!it->failure.code)
        give_pcm(it, bytes, size);
}

/* Decides on the format, once enough bytes or all have come. */
static void choose(struct input *it)
{
    struct media_source source = {.kind = sniff_media(it->first, it->first_size)};
    bool plain = source.kind == MEDIA_WAV && it->first_size == SNIFF_BYTES &&
                 sniff_plain_wav(it->first, &source, &it->left);
    it->sniffing = false;
    if (source.kind != MEDIA_UNKNOWN)
        open_decoder(it, &source);
    else if (!it->raw_name && it->first_size == 0)
        input_fail(&it->failure, "no_audio", "The file is empty");
    else if (!it->raw_name)
        input_fail(&it->failure, "unsupported_media",
                   "The file is no WAV, WebM, Ogg, MP3, MP4, FLAC or AAC audio");
    if (!plain)
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
    media_close(&(*input)->media);
    buf_free(&(*input)->pcm);
    free(*input);
    *input = NULL;
}
