/* SPDX-License-Identifier: MIT */
/* Forced alignment and pronunciations, on a recording of the Debian package pocketsphinx-testdata. */
#include "tasks/speech/align.h"
#include "tasks/speech/pronounce.h"
#include "tasks/speech/sphinx.h"
#include "tests/lib/tap.h"

#define RECORDING "/usr/share/pocketsphinx/test/data/goforward.raw"

static int16_t samples[16000 * 30];
static size_t sample_count;
static bool stopped;

static bool stop(void *arg)
{
    (void)arg;
    return stopped;
}

/* Aligns a text, as one part or cut before a word; whether every word has its place. */
static bool align_cut_at(const char *text, const struct align_cut *cut, size_t reached, struct words *words)
{
    struct word_list expected;
    *words = WORDS_INIT;
    normalize_text(text, 100, &expected);
    struct align_job job = {.expected = &expected,
                            .reached = reached,
                            .cuts = cut,
                            .cut_count = cut ? 1 : 0,
                            .samples = samples,
                            .count = sample_count,
                            .stop = stop};
    size_t placed = align_words(&job, words);
    bool complete = placed == expected.count && words->count == expected.count;
    word_list_free(&expected);
    return complete;
}

static bool align(const char *text, struct words *words)
{
    return align_cut_at(text, NULL, 100, words);
}

static void test_pronounce(void)
{
    char phones[64];
    ok(pronounce("cat", phones, sizeof(phones)), "a word has a pronunciation");
    is_text(phones, "K AE T", "in the dictionary's alphabet");
    ok(pronounce("frobnicate", phones, sizeof(phones)), "so has one that does not exist");
    ok(!pronounce("cat", phones, 6), "no room");
    ok(!pronounce("", phones, sizeof(phones)), "no word");
}

static void test_alignment(void)
{
    struct words words;
    ok(align("Go forward, 10 meters!", &words), "the text that was spoken");
    is_int(words.count, 4, "four words");
    static const double starts[] = {0.46, 0.64, 1.17, 1.53};
    for (size_t i = 0; i < words.count; i++) {
        double late = words.list[i].start - starts[i];
        ok(late > -0.06 && late < 0.06, "%s starts at %.2f", words.list[i].text, words.list[i].start);
        ok(words.list[i].confidence > 0.8, "and fits (%.2f)", words.list[i].confidence);
    }
    spoken_free(&words);

    ok(align("go backward ten yards", &words), "another text can be laid over it");
    ok(words.list[1].confidence < 0.6 && words.list[3].confidence < 0.6, "but its wrong words do not fit");
    ok(words.list[0].confidence > 0.8 && words.list[2].confidence > 0.8, "its right ones do");
    spoken_free(&words);

    ok(align("go forwardly tenn meterz", &words), "words no dictionary has are pronounced by their letters");
    spoken_free(&words);

    ok(!align("the quick brown fox jumps over the lazy dog and then goes on to tell the whole long story of "
              "its life to everybody who is willing to listen for hours and hours",
              &words),
       "a text that does not fit into the time is not found");
    ok(words.count > 20 && words.list[0].end <= 0 && words.list[0].confidence < 0, "its words have no place");
    spoken_free(&words);
    stopped = true;
    ok(!align("go forward ten meters", &words), "stopped");
    spoken_free(&words);
    stopped = false;
}

static void test_unread_end(void)
{
    struct words words;
    ok(!align_cut_at(
           "go forward ten meters and then turn to the left until you can see the river and the old "
           "bridge over it and then go on",
           NULL, 4, &words),
       "a text that was not read to its end");
    ok(words.list[3].end > 2 && words.list[3].confidence > 0.8, "has places for what was read");
    ok(words.list[4].end <= 0 && words.list[4].confidence >= 0, "and none for the rest");
    spoken_free(&words);
}

/* The recording twice, cut between: a text long enough to be aligned in two parts. */
static void test_parts(void)
{
    struct words words;
    char text[1024] = "";
    const size_t times = 9, one = sample_count;
    for (size_t i = 0; i < times; i++) {
        memcpy(samples + i * one, samples, one * sizeof(*samples));
        strncat(text, "go forward ten meters ", sizeof(text) - strlen(text) - 1);
    }
    sample_count = times * one;
    double length = (double)one / 16000;
    ok(align_cut_at(text, &(struct align_cut){32, 8 * length}, 100, &words), "a text in two parts");
    is_int(words.count, 36, "all of its words");
    for (size_t i = 0; i < words.count; i += 4) {
        double late = words.list[i].start - 0.46 - (double)(i / 4) * length;
        ok(late > -0.1 && late < 0.1, "word %zu starts at %.2f", i, words.list[i].start);
    }
    spoken_free(&words);
    sample_count = one;
}

int main(void)
{
    char *reason = NULL;
    FILE *file = fopen(RECORDING, "re");
    if (file == NULL || !sphinx_load_aligner(&reason))
        skip_all("needs the packages pocketsphinx-testdata and pocketsphinx-en-us");
    sample_count = fread(samples, 2, 16000 * 3, file);
    fclose(file);
    test_pronounce();
    test_alignment();
    test_unread_end();
    test_parts();
    return done_testing();
}
