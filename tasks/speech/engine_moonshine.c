/* SPDX-License-Identifier: MIT */
/* The engine `moonshine`: each utterance is transcribed as a whole, once it has ended (moonshine.h), and
 * aligned with its text for the times of its words. Owns the samples of the open utterance. One thread. Never
 * gives a confidence: neither the library nor the alignment knows one.
 *
 * Live text is the open utterance transcribed again, whenever three times of what the last time took has
 * passed since: so it takes a quarter of a processor at most. */
#include "hub/base/buf.h"
#include "hub/base/clock.h"
#include "tasks/speech/align.h"
#include "tasks/speech/endpoint.h"
#include "tasks/speech/engine.h"
#include "tasks/speech/moonshine.h"
#include "tasks/speech/sphinx.h"

#define SHORTEST (SPEECH_RATE / 10) /* samples: less holds no word */
#define NEWS (SPEECH_RATE / 2)      /* samples that make another look worth while */
#define FIRST_AFTER_MS 300          /* a file delivers a whole utterance sooner and needs no live text */
#define PAUSE_FACTOR 3              /* times the last cost, until the next look */
#define TEXT_WORDS_MAX 400          /* of one utterance; nobody says more in 15 s */
#define WORD_PARTS_MAX 20           /* spoken words of one written one */

struct moonshine {
    const struct engine_host *host;
    unsigned utterance;
    uint64_t start;   /* of the utterance, in samples */
    struct buf bytes; /* its samples */
    size_t looked_at; /* how many of them the live text was made from */
    uint64_t look_at; /* when the next live text may be made */
    bool open, failed;
};

static const int16_t *samples_of(const struct moonshine *it)
{
    return (const int16_t *)(const void *)it->bytes.data;
}

static size_t count_of(const struct moonshine *it)
{
    return it->bytes.len / sizeof(int16_t);
}

static double start_of(const struct moonshine *it)
{
    return (double)it->start / SPEECH_RATE;
}

static double end_of(const struct moonshine *it)
{
    return start_of(it) + (double)count_of(it) / SPEECH_RATE;
}

static void *moonshine_open(const struct engine_host *host, char **ret_reason)
{
    if (!moonshine_load(host->options, ret_reason) || !sphinx_load_aligner(ret_reason))
        return NULL;
    struct moonshine *it = xcalloc(1, sizeof *it);
    it->host = host;
    return it;
}

/* The text of the utterance so far (free()). */
static char *hear(struct moonshine *it)
{
    if (count_of(it) < SHORTEST)
        return xstrdup("");
    char *text = moonshine_text(samples_of(it), count_of(it));
    it->failed |= text == NULL;
    return text ? text : xstrdup("");
}

static void give(struct moonshine *it, const char *text, const struct words *words)
{
    const struct piece piece = {.utterance = it->utterance,
                                .final = words != NULL,
                                .text = text,
                                .words = words,
                                .start = start_of(it),
                                .end = end_of(it)};
    it->host->piece(it->host->arg, &piece);
}

/* ---- the times of the words ---- */

/* What is said for each written word: "10" is one word, "1455" several, "&" none. */
struct spoken {
    struct word_list all; /* borrows from `parts` */
    struct word_list *parts;
};

static void spell_out(const struct words *written, struct spoken *ret)
{
    ret->parts = xcalloc(written->count + 1, sizeof *ret->parts);
    ret->all = (struct word_list){xcalloc(written->count * WORD_PARTS_MAX + 1, sizeof(char *)), 0};
    for (size_t i = 0; i < written->count; i++) {
        normalize_text(written->list[i].text, WORD_PARTS_MAX, &ret->parts[i]);
        for (size_t k = 0; k < ret->parts[i].count; k++)
            ret->all.list[ret->all.count++] = ret->parts[i].list[k];
    }
}

static void forget_spelling(struct spoken *spoken, size_t count)
{
    for (size_t i = 0; i < count; i++)
        word_list_free(&spoken->parts[i]);
    free(spoken->parts);
    free(spoken->all.list);
}

/* Gives the written words the times of the spoken ones; what is not spoken stands behind the word before it.
 */
static void take_times(struct words *written, const struct spoken *spoken, const struct words *placed,
                       double offset)
{
    double end = offset + placed->list[0].start;
    size_t at = 0;
    for (size_t i = 0; i < written->count; i++) {
        size_t parts = spoken->parts[i].count;
        struct word *word = &written->list[i];
        word->start = parts ? offset + placed->list[at].start : end;
        word->end = end = parts ? offset + placed->list[at + parts - 1].end : end;
        word->estimated = false;
        at += parts;
    }
}

/* The words of the text with their times; estimated ones if the text is not found in the sound. */
static void place_words(struct moonshine *it, const char *text, struct words *ret)
{
    struct spoken spoken;
    struct words placed = WORDS_INIT;
    spoken_spread(ret, text, start_of(it), end_of(it));
    spell_out(ret, &spoken);
    const struct align_job job = {.expected = &spoken.all,
                                  .reached = spoken.all.count,
                                  .samples = samples_of(it),
                                  .count = count_of(it),
                                  .once = true,
                                  .stop = it->host->stop,
                                  .arg = it->host->arg};
    if (spoken.all.count && align_words(&job, &placed) == spoken.all.count)
        take_times(ret, &spoken, &placed, start_of(it));
    else if (ret->count)
        it->host->warn(it->host->arg, "word_times_estimated");
    spoken_free(&placed);
    forget_spelling(&spoken, ret->count);
}

/* ---- utterances ---- */

static void moonshine_begin(void *engine, unsigned utterance, uint64_t start)
{
    struct moonshine *it = engine;
    it->utterance = utterance;
    it->start = start;
    buf_clear(&it->bytes);
    it->looked_at = 0;
    it->look_at = clock_mono_ms() + FIRST_AFTER_MS;
    it->open = true;
}

static void moonshine_audio(void *engine, const int16_t *samples, size_t count)
{
    struct moonshine *it = engine;
    buf_append(&it->bytes, samples, count * sizeof *samples);
}

static unsigned moonshine_work(void *engine)
{
    struct moonshine *it = engine;
    if (!it->open)
        return ENGINE_IDLE;
    uint64_t begun = clock_mono_ms();
    if (count_of(it) < it->looked_at + NEWS || begun < it->look_at)
        return ENGINE_WAITS;
    char *text = hear(it);
    give(it, text, NULL);
    free(text);
    uint64_t ended = clock_mono_ms();
    it->looked_at = count_of(it);
    it->look_at = ended + PAUSE_FACTOR * (ended - begun);
    return ENGINE_WAITS;
}

/* The text is shown before its words are placed, which takes nearly as long again. */
static void moonshine_end(void *engine, uint64_t end)
{
    struct moonshine *it = engine;
    (void)end;
    it->open = false;
    if (it->host->stop(it->host->arg))
        return;
    struct words words = WORDS_INIT;
    char *text = hear(it);
    if (*text) {
        give(it, text, NULL);
        place_words(it, text, &words);
    }
    if (!it->host->stop(it->host->arg))
        give(it, text, &words);
    spoken_free(&words);
    free(text);
}

static bool moonshine_finish(void *engine, char **ret_reason)
{
    const struct moonshine *it = engine;
    if (it->failed)
        *ret_reason = xstrdup("the library could not transcribe an utterance");
    return !it->failed;
}

static void moonshine_close(void *engine)
{
    struct moonshine *it = engine;
    buf_free(&it->bytes);
    free(it);
}

const struct engine engine_moonshine = {
    .name = "moonshine",
    .label = "moonshine",
    .language = "en",
    .preload = moonshine_load,
    .open = moonshine_open,
    .begin = moonshine_begin,
    .audio = moonshine_audio,
    .end = moonshine_end,
    .work = moonshine_work,
    .finish = moonshine_finish,
    .close = moonshine_close,
};
