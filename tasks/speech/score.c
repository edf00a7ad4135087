/* SPDX-License-Identifier: MIT */
/* The score's arithmetic. Owns nothing. docs/speech.md explains it to users. */
#include "tasks/speech/score.h"

#include <math.h>
#include <stdint.h>

#define HEARD_WEIGHT 0.9     /* trust in a word the recogniser heard on its own */
#define HEARD_ONLY_LEAST 0.5 /* accuracy of a heard word with confidence 0 when there is no alignment */
#define EXTRA_COST 0.5 /* an unexpected word weighs half a missed one: many are the recogniser's errors */

/* Edit distance with its path (Wagner and Fischer): cost[i][j] for the first i expected and j heard words; a
 * word left out or added costs 2, one said for another 3. Whole sentences come in, so the quadratic table is
 * small. */
size_t score_match(const struct word_list *expected, const struct word_list *heard, int *ret_heard_at)
{
    size_t n = expected->count < SCORE_WORDS_MAX ? expected->count : SCORE_WORDS_MAX;
    size_t m = heard->count < SCORE_WORDS_MAX ? heard->count : SCORE_WORDS_MAX;
    uint16_t *cost = xcalloc((n + 1) * (m + 1), sizeof(*cost));
    size_t width = m + 1, extra = m;
    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            uint16_t *here = &cost[i * width + j];
            if (i == 0 || j == 0) {
                *here = (uint16_t)(2 * (i + j));
                continue;
            }
            bool same = normalize_same(expected->list[i - 1], heard->list[j - 1]);
            unsigned best = here[-(ptrdiff_t)width - 1] + (same ? 0u : 3u);
            best = here[-1] + 2u < best ? here[-1] + 2u : best;
            best = here[-(ptrdiff_t)width] + 2u < best ? here[-(ptrdiff_t)width] + 2u : best;
            *here = (uint16_t)best;
        }
    for (size_t i = n, j = m; i > 0;) {
        uint16_t *here = &cost[i * width + j];
        bool same = j > 0 && normalize_same(expected->list[i - 1], heard->list[j - 1]);
        if (j > 0 && *here == here[-(ptrdiff_t)width - 1] + (same ? 0 : 3)) {
            ret_heard_at[--i] = same ? (int)--j : -1;
            j -= same ? 0 : 1;
            extra--; /* a word said instead of another is not an extra word */
        } else if (*here == here[-(ptrdiff_t)width] + 2) {
            ret_heard_at[--i] = -1;
        } else {
            j--;
        }
    }
    free(cost);
    return extra;
}

double score_word(double fits, double confidence)
{
    bool heard = confidence >= 0;
    if (fits < 0) /* no alignment: only what was heard counts */
        return heard ? 100 * (HEARD_ONLY_LEAST + (1 - HEARD_ONLY_LEAST) * fmin(1, confidence)) : 0;
    /* Two witnesses that err independently: the word is wrong only if both are. */
    return 100 * (1 - (1 - fmin(1, fits)) * (1 - (heard ? HEARD_WEIGHT : 0)));
}

double score_total(const double *accuracy, size_t count, size_t extra)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += accuracy[i];
    return count ? sum / ((double)count + EXTRA_COST * (double)extra) : 0;
}
