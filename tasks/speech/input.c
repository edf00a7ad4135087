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
#include "tasks/speech/wav.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#define SAMPLES_MAX ((uint64_t)INPUT_SECONDS_MAX * SPEECH_RATE)

#define SILENT_PEAK 16 /* a recording that never exceeds it (-66 dB) is silent */

struct input {
    struct input_sink sink;
    bool sniffing; /* more bytes are needed to tell the format */
    bool raw_name;
    bool tagged; /* the file begins with a tag */
    size_t tag;  /* bytes of it still to come */
    uint8_t first[SNIFF_BYTES];
    size_t first_size;
    struct wav *wav;     /* NULL = no WAV file */
    struct media *media; /* NULL = the bytes are samples */
    struct buf pcm;      /* s16le, starts at a whole sample */
    uint64_t samples;
    int peak;
    bool cut;
    struct input_failure failure;
};

/* Passes samples on until the audio reaches its maximum length. */
static void give(void *arg, const int16_t *samples, size_t count)
{
    struct input *it = arg;
    uint64_t room = SAMPLES_MAX - it->samples;
    if (count > room) {
        count = (size_t)room;
        it->cut = true;
        it->sink.warn(it->sink.arg, "audio_cut");
    }
    it->samples += count;
    for (size_t i = 0; i < count && it->peak < SILENT_PEAK; i++)
        it->peak = abs(samples[i]) > it->peak ? abs(samples[i]) : it->peak;
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
static void open_decoder(void *arg, const struct media_source *source)
{
    struct input *it = arg;
    bool s16le = source->samples == NULL || strcmp(source->samples, "s16le") == 0;
    if (source->kind != MEDIA_PCM || !s16le || source->rate != SPEECH_RATE || source->channels != 1)
        it->media = media_open(source, &(struct media_sink){it, give, warn}, &it->failure);
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
    open_decoder(it, &(struct media_source){MEDIA_PCM, NULL, number(format, "sample_rate", SPEECH_RATE),
                                            number(format, "channels", 1)});
    return it;
}

static void feed_decoder(void *arg, const uint8_t *bytes, size_t size)
{
    struct input *it = arg;
    if (it->media)
        media_feed(it->media, bytes, size);
    else if (!it->failure.code)
        give_pcm(it, bytes, size);
}

static void feed(struct input *it, const uint8_t *bytes, size_t size)
{
    if (it->wav)
        wav_feed(it->wav, bytes, size);
    else
        feed_decoder(it, bytes, size);
}

/* ---- the kind of a file ---- */

/* Drops the first bytes of those that were looked at. */
static void drop_first(struct input *it, size_t count)
{
    it->first_size -= count;
    memmove(it->first, it->first + count, it->first_size);
}

/* Drops a tag that the file begins with, and the zeros behind it. False if more bytes must come first. */
static bool drop_tags(struct input *it)
{
    for (;;) {
        size_t n = it->tag < it->first_size ? it->tag : it->first_size;
        it->tag -= n;
        drop_first(it, n);
        for (n = 0; it->tagged && it->tag == 0 && n < it->first_size && it->first[n] == 0;)
            n++;
        drop_first(it, n);
        if (it->first_size < SNIFF_TAG_BYTES)
            return false;
        it->tag = sniff_tag(it->first);
        if (it->tag == 0)
            return true;
        it->tagged = true;
    }
}

/* A file of sound that says its own length in a place that is easily mended. */
static void open_au(struct input *it)
{
    if (it->first_size >= 12)
        memset(it->first + 8, 0xff, 4); /* to the end of the stream */
}

/* Decides on the format, once enough bytes or all have come. False to wait for more. */
static bool choose(struct input *it, bool all)
{
    bool whole = drop_tags(it);
    if (!whole && !all)
        return false;
    struct media_source source = {.kind = sniff_media(it->first, it->first_size)};
    if (source.kind == MEDIA_UNKNOWN && !all && it->first_size < SNIFF_BYTES)
        return false;
    if (source.kind == MEDIA_UNKNOWN && it->tagged && it->first_size > 0)
        source.kind = MEDIA_MP3; /* nothing else has such tags without a signature of its own */
    it->sniffing = false;
    if (source.kind == MEDIA_WAV && memcmp(it->first, "RIFX", 4) != 0)
        it->wav = wav_open(&(struct wav_sink){it, open_decoder, feed_decoder, warn}, &it->failure);
    else if (source.kind != MEDIA_UNKNOWN)
        open_decoder(it, &source);
    else if (!it->raw_name && it->first_size == 0)
        input_fail(&it->failure, "no_audio",
                   it->tagged ? "The file holds nothing but a tag" : "The file is empty");
    else if (!it->raw_name)
        input_fail(
            &it->failure, "unsupported_media",
            "The file is none that is known: WAV, WebM, Ogg, MP3, MP4, FLAC, AAC, AIFF, CAF, AU, AMR, AC-3, "
            "MPEG-TS, MPEG, AVI, WMA, FLV, WavPack, VOC");
    if (source.kind == MEDIA_AU)
        open_au(it);
    feed(it, it->first, it->first_size);
    return true;
}

void input_feed(struct input *it, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    while (it->sniffing && size > 0) {
        size_t n = sizeof(it->first) - it->first_size < size ? sizeof(it->first) - it->first_size : size;
        memcpy(it->first + it->first_size, p, n);
        it->first_size += n;
        p += n;
        size -= n;
        choose(it, false);
    }
    if (size > 0)
        feed(it, p, size);
}

void input_finish(struct input *it)
{
    if (it->sniffing)
        choose(it, true);
    if (it->wav)
        wav_finish(it->wav);
    if (it->media)
        media_finish(it->media);
}

bool input_silent(const struct input *it)
{
    return it->samples > 0 && it->peak < SILENT_PEAK;
}

uint64_t input_ignored(const struct input *it)
{
    return it->media && !it->cut ? media_ignored(it->media) : 0;
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
    wav_close(&(*input)->wav);
    media_close(&(*input)->media);
    buf_free(&(*input)->pcm);
    free(*input);
    *input = NULL;
}
