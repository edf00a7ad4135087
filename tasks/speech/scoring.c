/* SPDX-License-Identifier: MIT */
/* Scores a reading and builds the score's JSON: matching and alignment of the expected words, accuracy of
 * each, the total. Runs in the child of one task; owns nothing that outlives the call. */
#include "tasks/speech/scoring.h"

#include "tasks/speech/align.h"
#include "tasks/speech/score.h"

#define CUT_PAUSE 0.15     /* least seconds between two heard words for a cut of the alignment */
#define CUT_CONFIDENCE 0.7 /* of both words */

#define HEARD_WORDS_MAX 2000

struct reading {
    struct match match;
    struct word *places;  /* of heard words: times and confidence (1 when the engine gives none) */
    struct words aligned; /* one entry per expected word, or none at all */
};

/* The place of each heard word is that of the written one it comes from: "42" may be two words. */
static void place_heard(struct reading *reading, const struct words *heard)
{
    size_t count = reading->match.heard.count, at = 0, end = 0;
    reading->places = xcalloc(count + 1, sizeof(*reading->places));
    for (size_t i = 0; i < count && heard->count; i++) {
        while (at < heard->count && end + strlen(heard->list[at].text) < reading->match.offsets[i])
            end += strlen(heard->list[at++].text) + 1;
        struct word *place = &reading->places[i];
        *place = heard->list[at < heard->count ? at : heard->count - 1];
        place->confidence = place->confidence < 0 ? 1 : place->confidence;
    }
}

static void match_texts(struct reading *reading, const struct scoring_input *in, bool *ret_cut)
{
    struct lattice expected, heard;
    char *text = spoken_text(in->heard);
    lattice_read(in->expected, SCORING_WORDS_MAX, &expected);
    lattice_read(text, HEARD_WORDS_MAX, &heard);
    score_match(&expected, &heard, &reading->match);
    *ret_cut = expected.cut;
    lattice_free(&expected);
    lattice_free(&heard);
    free(text);
    place_heard(reading, in->heard);
}

/* Index after the last expected word that was heard. */
static size_t reached(const struct reading *reading)
{
    size_t end = reading->match.expected.count;
    while (end > 0 && reading->match.heard_at[end - 1] < 0)
        end--;
    return end;
}

/* Whether expected words i − 1 and i were surely heard one after the other, with a pause between. */
static bool is_cut(const struct reading *reading, size_t i)
{
    int before = reading->match.heard_at[i - 1];
    if (before < 0 || reading->match.heard_at[i] != before + 1)
        return false;
    const struct word *a = &reading->places[before], *b = a + 1;
    return a->confidence >= CUT_CONFIDENCE && b->confidence >= CUT_CONFIDENCE &&
           b->start - a->end >= CUT_PAUSE;
}

static const char *align(struct reading *reading, const struct scoring_input *in, bool (*stop)(void *arg),
                         void *arg)
{
    size_t count = reading->match.expected.count, cut_count = 0;
    if (in->samples == NULL)
        return "align_skipped";
    struct align_cut *cuts = xcalloc(count + 1, sizeof(*cuts));
    for (size_t i = 1; i < count; i++)
        if (is_cut(reading, i)) {
            const struct word *before = &reading->places[reading->match.heard_at[i - 1]];
            cuts[cut_count++] = (struct align_cut){i, (before[0].end + before[1].start) / 2};
        }
    struct align_job job = {.expected = &reading->match.expected,
                            .reached = reached(reading),
                            .cuts = cuts,
                            .cut_count = cut_count,
                            .samples = in->samples,
                            .count = in->count,
                            .stop = stop,
                            .arg = arg};
    size_t placed = align_words(&job, &reading->aligned);
    free(cuts);
    return placed == 0 ? "align_failed" : placed < count ? "partial" : "complete";
}

static json_t *word_json(const struct reading *reading, size_t i, double *ret_accuracy)
{
    const struct word *place = reading->aligned.count ? &reading->aligned.list[i] : NULL;
    int heard_at = reading->match.heard_at[i];
    *ret_accuracy =
        score_word(place ? place->confidence : -1, heard_at >= 0 ? reading->places[heard_at].confidence : -1);
    bool placed = place && place->end > 0;
    return json_pack("{s:s, s:o, s:b, s:o*, s:o*}", "word", reading->match.expected.list[i], "accuracy",
                     json_hundredths(*ret_accuracy), "heard", heard_at >= 0, "start",
                     placed ? json_hundredths(place->start) : NULL, "end",
                     placed ? json_hundredths(place->end) : NULL);
}

static json_t *reading_json(const struct reading *reading, const char *alignment)
{
    size_t count = reading->match.expected.count;
    double *accuracy = xcalloc(count + 1, sizeof(*accuracy));
    json_t *words = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(words, word_json(reading, i, &accuracy[i]));
    json_t *result = json_pack(
        "{s:o, s:o, s:i, s:s}", "score", json_hundredths(score_total(accuracy, count, reading->match.extra)),
        "accuracy", words, "extra_words", (int)reading->match.extra, "alignment", alignment);
    free(accuracy);
    return result;
}

json_t *scoring_run(const struct scoring_input *in, bool (*stop)(void *arg),
                    void (*warn)(void *arg, const char *warning), void *arg)
{
    struct reading reading = {.places = NULL};
    bool cut;
    match_texts(&reading, in, &cut);
    if (cut)
        warn(arg, "expected_text_cut");
    const char *alignment = align(&reading, in, stop, arg);
    if (strcmp(alignment, "align_skipped") == 0 || strcmp(alignment, "align_failed") == 0)
        warn(arg, alignment);

    json_t *result = stop(arg) ? NULL : reading_json(&reading, alignment);
    match_free(&reading.match);
    spoken_free(&reading.aligned);
    free(reading.places);
    return result;
}
