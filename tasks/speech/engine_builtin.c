/* SPDX-License-Identifier: MIT */
/* The built-in engine: pocketsphinx, one decoder per process. Owns the utterance being decoded and what is
 * known of the voice. One thread. Never reads the task's stream and never waits for anything outside.
 *
 * A recogniser is only as good as its mean spectrum of the voice and the microphone. Until three seconds
 * of speech have been heard, samples are only gathered and a draft child shows live text; then the
 * utterance is decoded from its first sample with the voice's own mean, catches up within half a second,
 * and continues live. An utterance that ends earlier is decoded in one go at its end. From then on the
 * mean is known and everything is decoded just once. So final text costs one full pass, is ready within
 * milliseconds of the utterance's end, and depends on the samples alone: pieces have a fixed length,
 * counted from the utterance's start, at whatever pace they came. */
#include "hub/base/buf.h"
#include "hub/base/clock.h"
#include "tasks/speech/draft.h"
#include "tasks/speech/endpoint.h"
#include "tasks/speech/engine.h"
#include "tasks/speech/sphinx.h"

#define PIECE (SPEECH_RATE / 10) /* samples decoded at a time */
#define SAMPLES_PER_FRAME 160
#define MEAN_FRAMES 300.0             /* of speech needed to trust the mean */
#define MEAN_FRAMES_MAX 3000.0        /* beyond this, older speech loses weight */
#define BACKLOG_MAX (SPEECH_RATE / 2) /* samples waiting before the engine is full */
#define DRAFT_AFTER_MS 40             /* a file delivers three seconds sooner and needs no draft */

struct builtin {
    const struct engine_host *host;
    struct sphinx_mean voice; /* of the ended utterances */
    unsigned utterance;
    uint64_t start;   /* of the utterance, in samples */
    struct buf bytes; /* the samples of the open utterance */
    size_t count, decoded;
    bool open, decoding;
    struct draft *draft;
    uint64_t draft_at; /* when to start a draft, 0 = never */
};

static bool builtin_preload(const struct options *options, char **ret_reason)
{
    (void)options;
    return sphinx_load(ret_reason);
}

static void *builtin_open(const struct engine_host *host, char **ret_reason)
{
    if (!sphinx_load(ret_reason))
        return NULL;
    struct builtin *it = xcalloc(1, sizeof(*it));
    it->host = host;
    return it;
}

/* Passes on the text of the utterance's first `count` samples. */
static void give(struct builtin *it, const char *text, const struct words *words, size_t count)
{
    struct piece piece = {
        .utterance = it->utterance,
        .final = words != NULL,
        .text = text,
        .words = words,
        .start = (double)it->start / SPEECH_RATE,
        .end = (double)(it->start + count) / SPEECH_RATE,
    };
    it->host->piece(it->host->arg, &piece);
}

static const int16_t *samples_of(const struct builtin *it)
{
    return (const int16_t *)(const void *)it->bytes.data;
}

/* Starts decoding with the voice's mean, made from earlier utterances and, if those are too short, from
 * the first samples of this one. */
static void start_decoding(struct builtin *it)
{
    struct sphinx_mean mean = it->voice;
    if (mean.frames < MEAN_FRAMES) {
        size_t wanted = (size_t)(MEAN_FRAMES - mean.frames) * SAMPLES_PER_FRAME;
        sphinx_mean_add(&mean, samples_of(it), wanted < it->count ? wanted : it->count);
    }
    sphinx_begin(&mean);
    it->decoding = true;
}

static void decode_piece(struct builtin *it)
{
    size_t n = it->count - it->decoded;
    if (n > PIECE)
        n = PIECE;
    sphinx_audio(samples_of(it) + it->decoded, n);
    it->decoded += n;
}

/* Remembers the voice of the utterance that has ended. */
static void learn_voice(struct builtin *it)
{
    if (it->voice.frames > MEAN_FRAMES_MAX) {
        for (size_t k = 0; k < SPHINX_CEPSTRA; k++)
            it->voice.sum[k] /= 2;
        it->voice.frames /= 2;
    }
    sphinx_mean_add(&it->voice, samples_of(it), it->count);
}

static void builtin_begin(void *engine, unsigned utterance, uint64_t start)
{
    struct builtin *it = engine;
    it->utterance = utterance;
    it->start = start;
    buf_clear(&it->bytes);
    it->count = it->decoded = 0;
    it->open = true;
    it->decoding = false;
    if (it->voice.frames >= MEAN_FRAMES)
        start_decoding(it);
    it->draft_at = it->decoding ? 0 : clock_mono_ms() + DRAFT_AFTER_MS;
}

static void builtin_audio(void *engine, const int16_t *samples, size_t count)
{
    struct builtin *it = engine;
    buf_append(&it->bytes, samples, count * sizeof(*samples));
    it->count += count;
    if (it->draft)
        draft_audio(it->draft, samples, count);
}

static void start_draft_if_due(struct builtin *it)
{
    if (it->draft_at == 0 || clock_mono_ms() < it->draft_at)
        return;
    it->draft_at = 0;
    it->draft = draft_start();
    if (it->draft)
        draft_audio(it->draft, samples_of(it), it->count);
}

static unsigned builtin_work(void *engine)
{
    struct builtin *it = engine;
    if (!it->open)
        return ENGINE_IDLE;
    if (!it->decoding)
        start_draft_if_due(it);
    double frames = it->voice.frames + (double)it->count / SAMPLES_PER_FRAME;
    if (!it->decoding && frames >= MEAN_FRAMES)
        start_decoding(it);
    if (it->decoding && it->count - it->decoded >= PIECE)
        decode_piece(it);

    bool behind = it->decoding && it->count - it->decoded >= PIECE;
    if (it->draft && it->decoding && !behind)
        draft_stop(&it->draft);
    if (it->draft) {
        size_t samples;
        const char *text = draft_text(it->draft, &samples);
        give(it, text, NULL, samples);
    } else if (it->decoding) {
        char *text = sphinx_partial();
        give(it, text, NULL, it->decoded);
        free(text);
    }
    if (!behind)
        return it->decoding ? ENGINE_IDLE : ENGINE_WAITS;
    return it->count - it->decoded > BACKLOG_MAX && !it->draft ? ENGINE_BUSY | ENGINE_FULL : ENGINE_BUSY;
}

static void builtin_end(void *engine, uint64_t end)
{
    struct builtin *it = engine;
    (void)end;
    draft_stop(&it->draft);
    it->open = false;
    if (!it->decoding)
        start_decoding(it);
    while (it->decoded < it->count && !it->host->stop(it->host->arg))
        decode_piece(it);
    struct words words = WORDS_INIT;
    sphinx_end((double)it->start / SPEECH_RATE, &words);
    if (!it->host->stop(it->host->arg)) {
        char *text = spoken_text(&words);
        give(it, text, &words, it->count);
        free(text);
        learn_voice(it);
    }
    spoken_free(&words);
}

static void builtin_close(void *engine)
{
    struct builtin *it = engine;
    draft_stop(&it->draft);
    buf_free(&it->bytes);
    free(it);
}

const struct engine engine_builtin = {
    .name = "builtin",
    .label = "pocketsphinx",
    .language = "en",
    .preload = builtin_preload,
    .open = builtin_open,
    .begin = builtin_begin,
    .audio = builtin_audio,
    .end = builtin_end,
    .work = builtin_work,
    .close = builtin_close,
};
