/* SPDX-License-Identifier: MIT */
/* Forced alignment of a text, part by part. Owns its two searches: the usual one, and a wide one for a
 * second try. One thread. Never starts a part at an uncertain cut: a long text costs no more per second
 * than a short one, and what cannot be aligned spoils only its own part. */
#include "tasks/speech/align.h"

#include "tasks/speech/endpoint.h"
#include "tasks/speech/sphinx.h"

#define PART_WORDS 30 /* least words of a part, unless the text ends */

static const double beams[] = {SPHINX_ALIGN_BEAM, 1e-200};

struct alignment {
    const struct align_job *job;
    struct sphinx_mean mean;
    struct sphinx_aligner *aligners[NELEMS(beams)]; /* made on first use */
};

/* Aligns the words first…end with the samples from…to; false if they cannot be found. */
static bool align_range(struct alignment *it, size_t first, size_t end, size_t from, size_t to,
                        struct words *ret_words)
{
    const struct align_job *job = it->job;
    struct words words = WORDS_INIT;
    bool found = false;
    for (size_t i = first; i < end; i++)
        spoken_add(&words, job->expected->list[i], strlen(job->expected->list[i]));
    size_t tries = job->once ? 1 : NELEMS(beams);
    for (size_t i = 0; i < tries && !found && !job->stop(job->arg); i++) {
        if (it->aligners[i] == NULL)
            it->aligners[i] = sphinx_aligner_new(beams[i], &it->mean);
        found = it->aligners[i] && sphinx_aligner_run(it->aligners[i], &words, job->samples + from, to - from,
                                                      job->stop, job->arg);
    }
    for (size_t i = 0; i < words.count; i++) {
        words.list[i].start += (double)from / SPEECH_RATE;
        words.list[i].end += (double)from / SPEECH_RATE;
    }
    if (found)
        spoken_append(ret_words, &words);
    spoken_free(&words);
    return found;
}

static void add_unplaced(struct alignment *it, size_t first, size_t end, double confidence,
                         struct words *ret_words)
{
    for (size_t i = first; i < end; i++) {
        const char *text = it->job->expected->list[i];
        spoken_add(ret_words, text, strlen(text))->confidence = confidence;
    }
}

/* Aligns one part. A reader may stop before the text ends, so a last part that cannot be found is tried
 * again, only as far as words were heard. Returns how many words have a place. */
static size_t align_part(struct alignment *it, size_t first, size_t end, size_t from, size_t to,
                         struct words *ret_words)
{
    size_t reached = it->job->reached;
    if (align_range(it, first, end, from, to, ret_words))
        return end - first;
    if (end == it->job->expected->count && reached > first && reached < end &&
        align_range(it, first, reached, from, to, ret_words)) {
        add_unplaced(it, reached, end, 0, ret_words);
        return reached - first;
    }
    add_unplaced(it, first, end, -1, ret_words);
    return 0;
}

size_t align_words(const struct align_job *job, struct words *ret_words)
{
    struct alignment it = {.job = job};
    size_t placed = 0, first = 0, from = 0, words = job->expected->count;
    sphinx_mean_add(&it.mean, job->samples, job->count);
    for (size_t i = 0; i < job->cut_count; i++) {
        size_t to = (size_t)(job->cuts[i].at * SPEECH_RATE);
        if (job->cuts[i].word < first + PART_WORDS || to <= from || to > job->count)
            continue;
        placed += align_part(&it, first, job->cuts[i].word, from, to, ret_words);
        first = job->cuts[i].word;
        from = to;
    }
    placed += align_part(&it, first, words, from, job->count, ret_words);
    for (size_t i = 0; i < NELEMS(beams); i++)
        sphinx_aligner_free(&it.aligners[i]);
    return placed;
}
