/* SPDX-License-Identifier: MIT */
/* The only user of pocketsphinx (0.8 to 5prealpha; version 5 has another configuration interface). Owns
 * the dictation decoder of this process. Runs in the parent from which speech children are forked (loading
 * only) and in those children; never in the hub. */
#include "tasks/speech/sphinx.h"

#include "tasks/speech/endpoint.h"
#include "tasks/speech/pronounce.h"

#include <math.h>
#include <pocketsphinx.h>
#include <sphinxbase/ckd_alloc.h>
#include <sphinxbase/err.h>
#include <sphinxbase/fsg_model.h>

#define MODEL_DIR "/usr/share/pocketsphinx/model/en-us"
#define FRAMES_PER_S 100
#define LANGUAGE_WEIGHT 6.5F /* the usual one; it also weighs silence between words */

static ps_decoder_t *decoder;
static ps_decoder_t *loaded_aligner; /* of the usual beam; stays loaded, since freeing costs time, too */
static mfcc_t default_mean[SPHINX_CEPSTRA];

/* Makes a decoder; takes ownership of `config`. NULL if it is invalid. */
static ps_decoder_t *load(cmd_ln_t *config)
{
    ps_decoder_t *ps = config ? ps_init(config) : NULL;
    cmd_ln_free_r(config);
    return ps;
}

/* Removal of silence is off, since it spoils word times; at most 3 000 active models per frame keep noise
 * from exploding the search; the library's second (flat) pass is off, since it makes words worse and ends
 * late. */
static cmd_ln_t *dictation_config(void)
{
    return cmd_ln_init(NULL, ps_args(), TRUE, "-hmm", MODEL_DIR "/en-us", "-dict",
                       MODEL_DIR "/cmudict-en-us.dict", "-lm", MODEL_DIR "/en-us.lm.bin", "-remove_silence",
                       "no", "-maxhmmpf", "3000", "-fwdflat", "no", "-logfn", "/dev/null", NULL);
}

/* Computes all senones, so that a word's acoustic score tells how far it is from the best sound of each
 * frame; two densities each cost a third less than the usual four and separate right words from wrong ones
 * as well. */
static ps_decoder_t *load_aligner(double beam)
{
    char width[16];
    snprintf(width, sizeof(width), "%g", beam);
    cmd_ln_t *config = cmd_ln_init(NULL, ps_args(), TRUE, "-hmm", MODEL_DIR "/en-us", "-dict",
                                   MODEL_DIR "/cmudict-en-us.dict", "-remove_silence", "no", "-bestpath",
                                   "no", "-compallsen", "yes", "-topn", "2", "-pl_window", "0", "-beam",
                                   width, "-pbeam", width, "-wbeam", width, "-logfn", "/dev/null", NULL);
    return load(config);
}

static bool refuse(char **ret_reason)
{
    *ret_reason =
        xstrdup("the speech model cannot be loaded from " MODEL_DIR " (Debian package pocketsphinx-en-us)");
    return false;
}

bool sphinx_load_aligner(char **ret_reason)
{
    if (loaded_aligner)
        return true;
    err_set_logfp(NULL);
    loaded_aligner =
        load_aligner(SPHINX_ALIGN_BEAM); /* for the children: loading costs more than aligning a sentence */
    if (loaded_aligner == NULL)
        return refuse(ret_reason);
    cmn_live_get(ps_get_feat(loaded_aligner)->cmn_struct, default_mean);
    return true;
}

bool sphinx_load(char **ret_reason)
{
    if (!sphinx_load_aligner(ret_reason))
        return false;
    if (decoder == NULL)
        decoder = load(dictation_config());
    return decoder || refuse(ret_reason);
}

/* ---- the mean ---- */

void sphinx_mean_add(struct sphinx_mean *mean, const int16_t *samples, size_t count)
{
    fe_t *fe = ps_get_fe(loaded_aligner);
    size_t left = count;
    int32 frames = 0, tail = 0;
    fe_start_stream(fe);
    fe_start_utt(fe);
    if (fe_process_frames(fe, NULL, &left, NULL, &frames, NULL) < 0)
        return;
    mfcc_t **cepstra = (mfcc_t **)ckd_calloc_2d((size_t)frames + 2, SPHINX_CEPSTRA, sizeof(mfcc_t));
    left = count;
    fe_process_frames(fe, &samples, &left, cepstra, &frames, NULL);
    fe_end_utt(fe, cepstra[frames], &tail);
    for (int32 i = 0; i < frames; i++) {
        if (cepstra[i][0] < 0) /* no energy: the library skips such frames, too */
            continue;
        for (size_t k = 0; k < SPHINX_CEPSTRA; k++)
            mean->sum[k] += (double)cepstra[i][k];
        mean->frames++;
    }
    ckd_free_2d(cepstra);
}

static void set_mean(ps_decoder_t *ps, const struct sphinx_mean *mean)
{
    cmn_t *cmn = ps_get_feat(ps)->cmn_struct;
    mfcc_t vector[SPHINX_CEPSTRA];
    for (size_t k = 0; k < SPHINX_CEPSTRA; k++)
        vector[k] = mean->frames > 0 ? (mfcc_t)(mean->sum[k] / mean->frames) : default_mean[k];
    cmn_live_set(cmn, vector);
    memset(cmn->sum, 0, sizeof(vector));
    cmn->nframe = 0;
}

/* ---- dictation ---- */

void sphinx_begin(const struct sphinx_mean *mean)
{
    set_mean(decoder, mean);
    ps_start_stream(decoder);
    ps_start_utt(decoder);
}

void sphinx_audio(const int16_t *samples, size_t count)
{
    ps_process_raw(decoder, samples, count, FALSE, FALSE);
}

/* Whether a decoder's word was spoken (no silence or filler); *ret_length excludes the variant number
 * "(2)". */
static bool is_spoken(const char *word, size_t *ret_length)
{
    *ret_length = strcspn(word, "(");
    return *ret_length > 0 && strchr("<[+", word[0]) == NULL;
}

char *sphinx_partial(void)
{
    const char *text = ps_get_hyp(decoder, NULL);
    return xstrdup(text ? text : "");
}

void sphinx_end(double offset, struct words *ret_words)
{
    logmath_t *logs = ps_get_logmath(decoder);
    ps_end_utt(decoder);
    ps_get_hyp(decoder, NULL); /* builds the lattice that posteriors come from */
    for (ps_seg_t *segment = ps_seg_iter(decoder); segment; segment = ps_seg_next(segment)) {
        const char *text = ps_seg_word(segment);
        size_t length;
        if (!is_spoken(text, &length))
            continue;
        int first, last;
        ps_seg_frames(segment, &first, &last);
        int32 posterior = ps_seg_prob(segment, NULL, NULL, NULL);
        struct word *word = spoken_add(ret_words, text, length);
        word->start = offset + (double)first / FRAMES_PER_S;
        word->end = offset + (double)(last + 1) / FRAMES_PER_S;
        word->confidence = fmin(1, logmath_exp(logs, posterior));
    }
}

/* ---- alignment ---- */

struct sphinx_aligner {
    ps_decoder_t *ps;
    struct sphinx_mean mean;
};

struct sphinx_aligner *sphinx_aligner_new(double beam, const struct sphinx_mean *mean)
{
    ps_decoder_t *ps = beam == SPHINX_ALIGN_BEAM && loaded_aligner ? loaded_aligner : load_aligner(beam);
    if (ps == NULL)
        return NULL;
    struct sphinx_aligner *aligner = xcalloc(1, sizeof(*aligner));
    *aligner = (struct sphinx_aligner){ps, *mean};
    return aligner;
}

void sphinx_aligner_free(struct sphinx_aligner **aligner)
{
    if (*aligner == NULL)
        return;
    if ((*aligner)->ps != loaded_aligner)
        ps_free((*aligner)->ps);
    free(*aligner);
    *aligner = NULL;
}

/* Adds a missing word to the dictionary, with the pronunciation its letters suggest. */
static bool know_word(ps_decoder_t *ps, const char *word)
{
    char phones[8 * WORD_MAX], *known = ps_lookup_word(ps, word);
    bool found = known != NULL;
    ckd_free(known);
    return found || (pronounce(word, phones, sizeof(phones)) && ps_add_word(ps, word, phones, FALSE) >= 0);
}

/* Restricts the search to these words in this order: a chain of states with one word between two. Fillers
 * and silence may come anywhere. False if a word cannot be pronounced. */
static bool search_for(ps_decoder_t *ps, const struct words *words)
{
    int states = (int)words->count + 1;
    fsg_model_t *chain = fsg_model_init("text", ps_get_logmath(ps), LANGUAGE_WEIGHT, states);
    bool known = true;
    chain->start_state = 0;
    chain->final_state = states - 1;
    for (int i = 0; i + 1 < states && known; i++) {
        known = know_word(ps, words->list[i].text);
        fsg_model_trans_add(chain, i, i + 1, 0, fsg_model_word_add(chain, words->list[i].text));
    }
    known = known && ps_set_fsg(ps, "text", chain) == 0 && ps_set_search(ps, "text") == 0;
    fsg_model_free(chain);
    return known;
}

/* Maps the library's average score per frame to 0–1. Measured: spoken words lie around −36 (5 % below
 * −60), unspoken ones around −125 (5 % above −71). */
static double fit(double score)
{
    return 1 / (1 + exp(-(score + 75) / 8));
}

static bool read_segments(ps_decoder_t *ps, struct words *words)
{
    size_t i = 0, length;
    if (ps_get_hyp(ps, NULL) == NULL)
        return false;
    for (ps_seg_t *segment = ps_seg_iter(ps); segment; segment = ps_seg_next(segment)) {
        int first, last;
        int32 score;
        if (!is_spoken(ps_seg_word(segment), &length) || i == words->count)
            continue;
        struct word *word = &words->list[i++];
        ps_seg_frames(segment, &first, &last);
        ps_seg_prob(segment, &score, NULL, NULL);
        word->start = (double)first / FRAMES_PER_S;
        word->end = (double)(last + 1) / FRAMES_PER_S;
        word->confidence = fit((double)score / (last + 1 - first));
    }
    return i == words->count;
}

bool sphinx_aligner_run(struct sphinx_aligner *aligner, struct words *words, const int16_t *samples,
                        size_t count, bool (*stop)(void *arg), void *arg)
{
    ps_decoder_t *ps = aligner->ps;
    if (words->count == 0 || !search_for(ps, words))
        return false;
    ps_start_stream(ps);
    ps_start_utt(ps);
    for (size_t i = 0; i < count && !stop(arg); i += SPEECH_RATE) {
        set_mean(ps, &aligner->mean); /* the library would let it drift */
        ps_process_raw(ps, samples + i, count - i < SPEECH_RATE ? count - i : SPEECH_RATE, FALSE, FALSE);
    }
    ps_end_utt(ps);
    return !stop(arg) && read_segments(ps, words);
}
