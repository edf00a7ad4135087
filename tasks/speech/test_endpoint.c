/* SPDX-License-Identifier: MIT */
/* The endpointer on made signals: where utterances begin and end, caps, noise, and that the cuts do not
 * depend on how the samples came. */
#include "hub/base/buf.h"
#include "tasks/speech/endpoint.h"
#include "tests/lib/tap.h"

#include <math.h>

#define SECOND SPEECH_RATE

static struct buf log_text, audio;
static uint64_t next_sample;
static double last_start, last_end;
static bool gapless;

static void on_begin(void *arg, uint64_t start)
{
    (void)arg;
    next_sample = start;
    last_start = (double)start / SECOND;
    buf_printf(&log_text, "[%llu ", (unsigned long long)start);
}

static void on_audio(void *arg, const int16_t *samples, size_t count)
{
    (void)arg;
    next_sample += count;
    buf_append(&audio, samples, count * 2);
}

static void on_end(void *arg, uint64_t end)
{
    (void)arg;
    gapless = gapless && end == next_sample;
    last_end = (double)end / SECOND;
    buf_printf(&log_text, "%llu]", (unsigned long long)end);
}

static const struct endpoint_sink sink = {on_begin, on_audio, on_end};

/* A made signal: parts of so many seconds of noise of a given amplitude. The noise is the same on every
 * run. */
struct part {
    double seconds, amplitude;
};

static size_t make(int16_t *to, const struct part *parts, size_t count)
{
    uint32_t state = 1;
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < (size_t)(parts[i].seconds * SECOND); k++) {
            state = state * 1664525 + 1013904223;
            to[n++] = (int16_t)lrint(((double)(state >> 8) / (1 << 24) - 0.5) * 2 * parts[i].amplitude);
        }
    return n;
}

static int16_t signal_[60 * SECOND];

/* Runs the endpointer over the signal in pieces of `step`; how many utterances it found. */
static unsigned run(size_t count, size_t step)
{
    buf_clear(&log_text);
    buf_clear(&audio);
    gapless = true;
    struct endpoint *ep = endpoint_new(&sink, NULL);
    for (size_t i = 0; i < count; i += step)
        endpoint_feed(ep, signal_ + i, count - i < step ? count - i : step);
    endpoint_finish(ep);
    endpoint_free(&ep);
    unsigned ends = 0;
    for (size_t i = 0; i < log_text.len; i++)
        ends += log_text.data[i] == ']';
    return ends;
}

static bool near(double value, double want, double within)
{
    return fabs(value - want) <= within;
}

static void test_one_utterance(void)
{
    size_t n = make(signal_, (struct part[]){{2, 20}, {1, 3000}, {2, 20}}, 3);
    is_int(run(n, 1600), 1, "one utterance");
    ok(near(last_start, 1.7, 0.05), "it begins 300 ms before the sound (%.2f)", last_start);
    ok(near(last_end, 3.35, 0.15), "and ends about 300 ms behind it (%.2f)", last_end);
    ok(gapless, "its pieces follow each other");
}

static void test_splitting(void)
{
    static const size_t steps[] = {1, 7, 320, 1601, 100000};
    size_t n = make(signal_, (struct part[]){{0.7, 30}, {1, 2000}, {1.2, 30}, {2, 3000}, {0.3, 30}}, 5);
    is_int(run(n, 1600), 2, "two utterances");
    char *want = buf_take_string(&log_text);
    struct buf want_audio = audio;
    audio = BUF_INIT;
    for (size_t i = 0; i < NELEMS(steps); i++) {
        run(n, steps[i]);
        is_span(buf_span(&log_text), want, "the same cuts in pieces of %zu", steps[i]);
        ok(span_equal(buf_span(&audio), buf_span(&want_audio)), "and the same samples");
    }
    free(want);
    buf_free(&want_audio);
}

static void test_pauses(void)
{
    size_t n = make(signal_, (struct part[]){{1, 20}, {1, 3000}, {0.7, 20}, {1, 3000}, {1, 20}}, 5);
    is_int(run(n, 800), 1, "a pause of 700 ms does not end an utterance");
    n = make(signal_, (struct part[]){{1, 20}, {1, 3000}, {1.1, 20}, {1, 3000}, {1, 20}}, 5);
    is_int(run(n, 800), 2, "one of 1100 ms does");
    n = make(signal_, (struct part[]){{1, 20}, {11, 3000}, {0.4, 20}, {1, 3000}, {1, 20}}, 5);
    is_int(run(n, 800), 2, "after 10 s a pause of 400 ms is enough");
}

/* Syllables with dips that are no pauses. */
static size_t make_babble(double seconds)
{
    struct part parts[200];
    size_t count = 0;
    for (double at = 0; at < seconds && count + 2 < NELEMS(parts); at += 0.38) {
        parts[count++] = (struct part){0.3, 3000};
        parts[count++] = (struct part){0.08, 20};
    }
    return make(signal_, parts, count);
}

static void test_cap(void)
{
    size_t n = make_babble(23);
    unsigned found = run(n, 1600);
    ok(found >= 2, "speech without a pause is cut (%u utterances)", found);
    size_t total = audio.len / 2;
    ok(total + SECOND / 2 > n, "and none of it is lost (%zu of %zu samples)", total, n);
    ok(gapless, "pieces follow each other");
}

static void test_noise(void)
{
    static const struct part loud[] = {{40, 3000}};
    is_int(run(make(signal_, (struct part[]){{20, 60}}, 1), 1600), 0, "quiet noise is no speech");
    is_int(run(make(signal_, (struct part[]){{20, 0}}, 1), 1600), 0, "silence is no speech");
    run(make(signal_, loud, 1), 1600);
    ok(audio.len / 2 < 20 * SECOND, "loud steady noise stops being speech (%.1f s)",
       (double)audio.len / 2 / SECOND);
    is_int(run(0, 1), 0, "no samples");
    is_int(run(100, 1), 0, "less than a block");
}

static void test_speech_at_once(void)
{
    struct part parts[40];
    size_t count = 0;
    parts[count++] = (struct part){0.5, 500}; /* too quiet for the floor that is assumed at first */
    parts[count++] = (struct part){0.1, 10};
    parts[count++] = (struct part){1, 500};
    parts[count++] = (struct part){1, 10};
    is_int(run(make(signal_, parts, count), 1600), 1, "quiet speech from the first sample on");
    ok(last_start < 0.2, "is dated back to its beginning once the floor is known (%.2f)", last_start);
}

/* Words with pauses, at falling levels: 60 dB between the first and the last one. */
static void test_soft_speech(void)
{
    static const double levels[] = {10000, 1000, 300, 100, 30};
    for (size_t i = 0; i < NELEMS(levels); i++) {
        double loud = levels[i], hiss = loud / 300;
        size_t n = make(signal_,
                        (struct part[]){{1, hiss},
                                        {0.4, loud},
                                        {0.2, loud / 4},
                                        {0.5, loud},
                                        {0.3, hiss},
                                        {0.6, loud / 2},
                                        {1.5, hiss},
                                        {0.7, loud},
                                        {2, hiss}},
                        9);
        is_int(run(n, 1600), 2, "two utterances at a level of %.0f", loud);
        ok((double)audio.len / 2 > 3.2 * SECOND, "and most of the sound (%.2f s)",
           (double)audio.len / 2 / SECOND);
    }
    size_t n = make(signal_, (struct part[]){{1, 10}, {1, 5000}, {0.8, 10}, {0.3, 30}, {0.9, 10}}, 5);
    is_int(run(n, 1600), 1, "what is 40 dB below a voice is no voice");
}

int main(void)
{
    test_one_utterance();
    test_splitting();
    test_pauses();
    test_cap();
    test_noise();
    test_speech_at_once();
    test_soft_speech();
    buf_free(&log_text);
    buf_free(&audio);
    return done_testing();
}
