/* SPDX-License-Identifier: MIT */
/* The engine moonshine in a forked child of a process that has it loaded, on recordings of the Debian package
 * pocketsphinx-testdata. Fails where the engine is not there: `./run build` and `ninja` bring it. */
#include "hub/base/clock.h"
#include "hub/config/options.h"
#include "tasks/speech/endpoint.h"
#include "tasks/speech/engine.h"
#include "tasks/speech/moonshine.h"
#include "tasks/speech/sphinx.h"
#include "tests/lib/tap.h"

#include <malloc.h>
#include <math.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDING "/usr/share/pocketsphinx/test/data/goforward.raw"
#define SAMPLES_MAX 48000
#define LOOKS 4

static int16_t samples[SAMPLES_MAX], other[SAMPLES_MAX];
static size_t sample_count;
static struct options options;

/* What the engine said last. */
static struct {
    char text[200], partial[200], warning[64];
    struct words words;
    unsigned finals, partials;
} heard;

static void take_piece(void *arg, const struct piece *piece)
{
    (void)arg;
    snprintf(piece->final ? heard.text : heard.partial, sizeof heard.text, "%s", piece->text);
    heard.finals += piece->final;
    heard.partials += !piece->final;
    if (piece->words)
        spoken_append(&heard.words, piece->words);
}

static bool stop(void *arg)
{
    (void)arg;
    return false;
}

static void warn(void *arg, const char *warning)
{
    (void)arg;
    snprintf(heard.warning, sizeof heard.warning, "%s", warning);
}

static const struct engine_host host = {&options, "en", NULL, take_piece, stop, warn};

/* One utterance that begins at second 2 of the stream. */
static void hear(const int16_t *from, size_t count)
{
    char *reason = NULL;
    spoken_free(&heard.words);
    memset(&heard, 0, sizeof heard);
    void *engine = engine_moonshine.open(&host, &reason);
    if (!ok(engine != NULL, "the engine opens: %s", reason ? reason : "yes"))
        return;
    engine_moonshine.begin(engine, 0, 32000);
    engine_moonshine.audio(engine, from, count);
    engine_moonshine.work(engine);
    engine_moonshine.end(engine, 32000 + count);
    ok(engine_moonshine.finish(engine, &reason), "and finishes");
    engine_moonshine.close(engine);
}

static void test_words(void)
{
    static const double starts[] = {2.46, 2.64, 3.17, 3.53};
    hear(samples, sample_count);
    is_int(heard.finals, 1, "one final piece");
    is_text(heard.text, "Go forward ten meters.", "the text as people write it");
    is_text(heard.partial, heard.text, "shown before its words are placed");
    is_text(heard.warning, "", "no warning");
    if (!is_int(heard.words.count, 4, "four words"))
        return;
    for (size_t i = 0; i < 4; i++) {
        const struct word *word = &heard.words.list[i];
        ok(fabs(word->start - starts[i]) < 0.1 && word->end > word->start, "%s starts at %.2f", word->text,
           word->start);
        ok(word->confidence < 0, "without a confidence");
        ok(!word->estimated, "its times are no guess");
    }
}

static void test_levels(void)
{
    for (size_t i = 0; i < sample_count; i++)
        other[i] = (int16_t)(samples[i] / 50);
    hear(other, sample_count);
    ok(strstr(heard.text, "forward") != NULL, "34 dB less is heard as well: %s", heard.text);
}

static void test_gate(void)
{
    unsigned state = 1;
    memset(other, 0, sizeof other);
    hear(other, SAMPLES_MAX);
    is_text(heard.text, "", "nobody speaks in silence");
    for (size_t i = 0; i < SAMPLES_MAX; i++)
        other[i] = (int16_t)((int)((state = state * 1103515245 + 12345) >> 17 & 8191) - 4096);
    hear(other, SAMPLES_MAX);
    is_text(heard.text, "", "nor in noise");
    for (size_t i = 0; i < SAMPLES_MAX; i++)
        other[i] = (int16_t)(8000 * sin((double)i * 2 * M_PI * 440 / 16000));
    hear(other, SAMPLES_MAX);
    is_text(heard.text, "", "nor in a tone");
    hear(samples, 100);
    is_text(heard.text, "", "nor in six milliseconds");
    is_int(heard.words.count, 0, "so there are no words");
}

/* KiB that this process has for itself. */
static long private_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "Private_Dirty:", 14) == 0)
            kb = strtol(line + 14, NULL, 10);
    if (file)
        fclose(file);
    return kb;
}

/* What an utterance leaves behind could not be given back by anybody. */
static void test_leavings(void)
{
    static int16_t utterance[SPEECH_RATE * 15];
    for (size_t i = 0; i < NELEMS(utterance); i++)
        utterance[i] = samples[i % sample_count];
    free(moonshine_text(utterance, NELEMS(utterance)));
    long held = private_kb();
    malloc_trim(0);
    long needed = private_kb();
    ok(needed > 0 && held - needed < 1024, "%ld KiB are held after an utterance, %ld needed", held, needed);
}

/* Asks for live text from its first look on as often as it can while there is always something new. Ratios
 * alone count: what a look costs depends on the machine. */
static void test_pacing(void)
{
    char *reason = NULL;
    memset(&heard, 0, sizeof heard);
    void *engine = engine_moonshine.open(&host, &reason);
    if (!ok(engine != NULL, "the engine opens: %s", reason ? reason : "yes"))
        return;
    uint64_t looking = 0, begun = 0, ended = 0;
    engine_moonshine.begin(engine, 0, 0);
    engine_moonshine.audio(engine, samples, 8000);
    while (heard.partials < LOOKS) {
        unsigned before = heard.partials;
        uint64_t at = clock_mono_ms();
        engine_moonshine.work(engine);
        ended = clock_mono_ms();
        if (heard.partials == before) {
            poll(NULL, 0, 1);
            continue;
        }
        engine_moonshine.audio(engine, samples + (size_t)8000 * heard.partials, 8000);
        begun = before ? begun : at;
        looking += heard.partials < LOOKS ? ended - at : 0;
    }
    ok(ended - begun >= 3 * looking, "%d looks within %u ms, of which %u ms were spent in all but the last",
       LOOKS, (unsigned)(ended - begun), (unsigned)looking);
    engine_moonshine.close(engine);
}

/* In a child, which may be left without the engine. 0 if all is as it should be. */
static int missing(void)
{
    struct options elsewhere = options;
    char nowhere[] = "/nowhere", *reason = NULL, *again = NULL;
    elsewhere.speech_moonshine_dir = nowhere;
    bool refused = !moonshine_load(&elsewhere, &reason) && strstr(reason, nowhere);
    bool same = !moonshine_load(&options, &again) && strcmp(reason, again) == 0;
    free(reason);
    free(again);
    return refused && same && !moonshine_loaded() ? 0 : 1;
}

static int utterances(void)
{
    test_words();
    test_levels();
    test_gate();
    test_pacing();
    test_leavings();
    spoken_free(&heard.words);
    return done_testing();
}

/* Runs the checks in a child, as a task runs; returns its exit code. */
static int in_child(int (*checks)(void))
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        exit(checks());
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(void)
{
    char *reason = NULL, empty[] = "", *dir = getenv("TASKHUB_SPEECH_MOONSHINE_DIR");
    FILE *file = fopen(RECORDING, "re");
    options.speech_moonshine_dir = dir ? dir : empty;
    sample_count = file ? fread(samples, 2, SAMPLES_MAX, file) : 0;
    if (file)
        fclose(file);
    ok(sample_count > 40000, "the package pocketsphinx-testdata is there");
    is_int(in_child(missing), 0, "what is not there is not loaded, says so, and is not tried again");
    bool loaded = moonshine_load(&options, &reason) && sphinx_load_aligner(&reason);
    if (!ok(loaded, "the engine loads: %s", reason ? reason : "yes"))
        return done_testing();
    return in_child(utterances);
}
