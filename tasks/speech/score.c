/* SPDX-License-Identifier: MIT */
/* The score's arithmetic. Owns nothing. docs/speech.md explains it to users. */
#include "tasks/speech/score.h"

#include <math.h>
#include <stdint.h>

#define HEARD_WEIGHT 0.9     /* trust in a word the recogniser heard on its own */
#define HEARD_ONLY_LEAST 0.5 /* accuracy of a heard word with confidence 0 when there is no alignment */
#define EXTRA_COST 0.5 /* an unexpected word weighs half a missed one: many are the recogniser's errors */

enum { LEFT_OUT = 2, REPLACED = 3 }; /* costs of a word left out or added, and of one said for another */

struct table { /* cost[i][j]: the least to come to node i of the one lattice and j of the other */
    const struct lattice *one, *other;
    size_t *one_in, *other_in; /* per node, the first word that leads to it */
    uint16_t *cost;
};

static size_t *first_words(const struct lattice *lattice)
{
    size_t *first = xcalloc(lattice->nodes + 1, sizeof(*first));
    for (size_t i = lattice->count; i-- > 0;)
        first[lattice->list[i].to] = i;
    first[lattice->nodes] = lattice->count;
    return first;
}

static uint16_t *cost_at(const struct table *it, size_t i, size_t j)
{
    return &it->cost[i * it->other->nodes + j];
}

static unsigned change(const struct lattice_word *a, const struct lattice_word *b)
{
    return a->key == b->key && normalize_same(a->text, b->text) ? 0 : REPLACED;
}

static unsigned least_cost(const struct table *it, size_t i, size_t j)
{
    unsigned best = i || j ? UINT16_MAX : 0;
    for (size_t f = it->other_in[j]; j && f < it->other_in[j + 1]; f++) {
        unsigned cost = *cost_at(it, i, it->other->list[f].from) + (unsigned)LEFT_OUT;
        best = cost < best ? cost : best;
    }
    for (size_t e = it->one_in[i]; i && e < it->one_in[i + 1]; e++) {
        const struct lattice_word *word = &it->one->list[e];
        unsigned cost = *cost_at(it, word->from, j) + (unsigned)LEFT_OUT;
        best = cost < best ? cost : best;
        for (size_t f = it->other_in[j]; j && f < it->other_in[j + 1]; f++) {
            const struct lattice_word *heard = &it->other->list[f];
            cost = *cost_at(it, word->from, heard->from) + change(word, heard);
            best = cost < best ? cost : best;
        }
    }
    return best;
}

struct step { /* of a way back: the words that lead to a pair of nodes, NULL = none in this lattice */
    const struct lattice_word *word, *heard;
};

static struct step step_to(const struct table *it, size_t i, size_t j)
{
    unsigned cost = *cost_at(it, i, j);
    for (size_t e = it->one_in[i]; i && j && e < it->one_in[i + 1]; e++)
        for (size_t f = it->other_in[j]; f < it->other_in[j + 1]; f++) {
            const struct lattice_word *word = &it->one->list[e], *heard = &it->other->list[f];
            if (cost == *cost_at(it, word->from, heard->from) + change(word, heard))
                return (struct step){word, heard};
        }
    for (size_t e = it->one_in[i]; i && e < it->one_in[i + 1]; e++)
        if (cost == *cost_at(it, it->one->list[e].from, j) + (unsigned)LEFT_OUT)
            return (struct step){&it->one->list[e], NULL};
    for (size_t f = it->other_in[j]; f < it->other_in[j + 1]; f++)
        if (cost == *cost_at(it, i, it->other->list[f].from) + (unsigned)LEFT_OUT)
            return (struct step){NULL, &it->other->list[f]};
    return (struct step){NULL, NULL};
}

/* The cheapest way, from its end; returns the number of steps. */
static size_t walk_back(const struct table *it, struct step *ret_steps)
{
    size_t count = 0, i = it->one->nodes - 1, j = it->other->nodes - 1;
    while (i || j) {
        struct step step = step_to(it, i, j);
        i = step.word ? step.word->from : i;
        j = step.heard ? step.heard->from : j;
        ret_steps[count++] = step;
    }
    return count;
}

static void take_steps(const struct step *steps, size_t count, struct match *ret)
{
    *ret = (struct match){.heard_at = xcalloc(count + 1, sizeof(*ret->heard_at)),
                          .offsets = xcalloc(count + 1, sizeof(*ret->offsets))};
    while (count-- > 0) {
        const struct step *step = &steps[count];
        bool same = step->word && step->heard && change(step->word, step->heard) == 0;
        if (step->word) {
            ret->heard_at[ret->expected.count] = same ? (int)ret->heard.count : -1;
            word_list_add(&ret->expected, step->word->text);
        }
        if (step->heard) {
            ret->offsets[ret->heard.count] = step->heard->offset;
            word_list_add(&ret->heard, step->heard->text);
            ret->extra += step->word == NULL; /* a word said instead of another is not an extra word */
        }
    }
}

void score_match(const struct lattice *expected, const struct lattice *heard, struct match *ret)
{
    struct table it = {expected, heard, first_words(expected), first_words(heard),
                       xcalloc(expected->nodes * heard->nodes, sizeof(uint16_t))};
    for (size_t i = 0; i < expected->nodes; i++)
        for (size_t j = 0; j < heard->nodes; j++)
            *cost_at(&it, i, j) = (uint16_t)least_cost(&it, i, j);
    struct step *steps = xcalloc(expected->nodes + heard->nodes, sizeof(*steps));
    take_steps(steps, walk_back(&it, steps), ret);
    free(steps);
    free(it.cost);
    free(it.one_in);
    free(it.other_in);
}

void match_free(struct match *match)
{
    word_list_free(&match->expected);
    word_list_free(&match->heard);
    free(match->heard_at);
    free(match->offsets);
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
