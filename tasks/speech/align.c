/* Forced alignment with its second try. Owns nothing; the recogniser does the work (sphinx.h). */
#include "tasks/speech/align.h"

#include "tasks/speech/sphinx.h"

bool align_words(const struct word_list *expected, size_t count, const int16_t *samples, size_t sample_count,
                 bool (*stop)(void *arg), void *arg, struct words *ret_words)
{
    static const double beams[] = {1e-80, 1e-200};
    struct words words = WORDS_INIT;
    bool found = false;
    for (size_t i = 0; i < count; i++)
        spoken_add(&words, expected->list[i], strlen(expected->list[i]));
    for (size_t i = 0; i < NELEMS(beams) && !found && count && !stop(arg); i++)
        found = sphinx_align(&words, samples, sample_count, beams[i], stop, arg);
    if (found)
        spoken_append(ret_words, &words);
    spoken_free(&words);
    return found;
}
