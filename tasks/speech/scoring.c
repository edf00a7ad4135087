/* Scores a reading and writes it down: matching and alignment of the expected words, accuracy of each,
 * the total. Runs in the child of one task; owns nothing that outlives the call. */
#include "tasks/speech/scoring.h"

#include "tasks/speech/align.h"
#include "tasks/speech/score.h"

struct reading {
    struct word_list expected, heard;
    const double *confidence; /* of heard words */
    int *heard_at;            /* per expected word */
    size_t extra;
    struct words aligned; /* of the first words; empty when there is no alignment */
};

/* One word per spelled word of what was heard, so that "42" counts as two words on both sides. */
static double *normalize_heard(const struct words *heard, struct word_list *ret_words)
{
    double *confidence = xcalloc(heard->count * 8 + 1, sizeof(*confidence));
    char *text = spoken_text(heard);
    normalize_text(text, SCORE_WORDS_MAX, ret_words);
    free(text);
    size_t at = 0;
    for (size_t i = 0; i < heard->count && at < ret_words->count; i++) {
        struct word_list parts;
        normalize_text(heard->list[i].text, 8, &parts);
        for (size_t k = 0; k < parts.count && at < ret_words->count; k++)
            confidence[at++] = heard->list[i].confidence < 0 ? 1 : heard->list[i].confidence;
        word_list_free(&parts);
    }
    return confidence;
}

/* One past the last expected word that was heard. */
static size_t reached(const struct reading *reading)
{
    size_t end = reading->expected.count;
    while (end > 0 && reading->heard_at[end - 1] < 0)
        end--;
    return end;
}

/* A reader may stop before the text does, so what cannot be aligned as a whole is tried as far as words
 * were heard. */
static const char *align(struct reading *reading, const struct scoring_input *in, bool (*stop)(void *arg),
                         void *arg)
{
    size_t count = reading->expected.count, heard = reached(reading);
    if (in->samples == NULL)
        return "align_skipped";
    if (align_words(&reading->expected, count, in->samples, in->count, stop, arg, &reading->aligned))
        return "complete";
    if (heard < count &&
        align_words(&reading->expected, heard, in->samples, in->count, stop, arg, &reading->aligned))
        return "partial";
    return "align_failed";
}

static json_t *word_json(const struct reading *reading, size_t i, double *ret_accuracy)
{
    const struct word *place = i < reading->aligned.count ? &reading->aligned.list[i] : NULL;
    int heard_at = reading->heard_at[i];
    double fits = place ? place->confidence : reading->aligned.count ? 0 : -1;
    *ret_accuracy = score_word(fits, heard_at >= 0 ? reading->confidence[heard_at] : -1);
    json_t *word = json_pack("{s:s, s:o, s:b}", "word", reading->expected.list[i], "accuracy",
                             json_hundredths(*ret_accuracy), "heard", heard_at >= 0);
    if (place) {
        json_object_set_new(word, "start", json_hundredths(place->start));
        json_object_set_new(word, "end", json_hundredths(place->end));
    }
    return word;
}

static json_t *reading_json(const struct reading *reading, const char *alignment)
{
    size_t count = reading->expected.count;
    double *accuracy = xcalloc(count + 1, sizeof(*accuracy));
    json_t *words = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(words, word_json(reading, i, &accuracy[i]));
    json_t *result = json_pack("{s:o, s:o, s:i, s:s}", "score",
                               json_hundredths(score_total(accuracy, count, reading->extra)), "accuracy",
                               words, "extra_words", (int)reading->extra, "alignment", alignment);
    free(accuracy);
    return result;
}

json_t *scoring_run(const struct scoring_input *in, bool (*stop)(void *arg),
                    void (*warn)(void *arg, const char *warning), void *arg)
{
    struct reading reading = {.extra = 0};
    normalize_text(in->expected, SCORING_WORDS_MAX, &reading.expected);
    if (reading.expected.count == SCORING_WORDS_MAX)
        warn(arg, "expected_text_cut");
    double *confidence = normalize_heard(in->heard, &reading.heard);
    reading.confidence = confidence;
    reading.heard_at = xcalloc(reading.expected.count + 1, sizeof(*reading.heard_at));
    reading.extra = score_match(&reading.expected, &reading.heard, reading.heard_at);
    const char *alignment = align(&reading, in, stop, arg);
    if (strcmp(alignment, "align_skipped") == 0 || strcmp(alignment, "align_failed") == 0)
        warn(arg, alignment);

    json_t *result = stop(arg) ? NULL : reading_json(&reading, alignment);
    word_list_free(&reading.expected);
    word_list_free(&reading.heard);
    spoken_free(&reading.aligned);
    free(reading.heard_at);
    free(confidence);
    return result;
}
