/* Forced alignment and pronunciations, on a recording of the Debian package pocketsphinx-testdata. */
#include "tasks/speech/align.h"
#include "tasks/speech/pronounce.h"
#include "tasks/speech/sphinx.h"
#include "tests/tap.h"

#define RECORDING "/usr/share/pocketsphinx/test/data/goforward.raw"

static int16_t samples[160000];
static size_t sample_count;
static bool stopped;

static bool stop(void *arg)
{
    (void)arg;
    return stopped;
}

static bool align(const char *text, struct words *words)
{
    struct word_list expected;
    *words = WORDS_INIT;
    normalize_text(text, 100, &expected);
    bool found = align_words(&expected, expected.count, samples, sample_count, stop, NULL, words);
    word_list_free(&expected);
    return found;
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
    stopped = true;
    ok(!align("go forward ten meters", &words), "stopped");
}

int main(void)
{
    char *reason = NULL;
    FILE *file = fopen(RECORDING, "re");
    if (file == NULL || !sphinx_load(&reason))
        skip_all("needs the packages pocketsphinx-testdata and pocketsphinx-en-us");
    sample_count = fread(samples, 2, sizeof(samples) / 2, file);
    fclose(file);
    test_pronounce();
    test_alignment();
    return done_testing();
}
