/* SPDX-License-Identifier: MIT */
/* The endpointer. Owns the noise floor, the last two seconds of audio and the state of the open
 * utterance; runs in the speech child. Never decodes and never looks at a clock.
 *
 * Blocks of 20 ms. Speech is a 100 ms level above 8 times the floor; the floor follows the minimum of
 * the 60 ms level and rises by 22 % per second, so that steady noise stops being speech. An utterance
 * ends after 900 ms without speech; past 10 s a shorter pause will do, and 15 s is the cap. Only speech
 * and 300 ms around it are passed on. */
#include "tasks/speech/endpoint.h"

#include "hub/base/mem.h"

#define BLOCK ENDPOINT_PIECE
#define BLOCKS_PER_S (SPEECH_RATE / BLOCK)
#define HISTORY (2 * BLOCKS_PER_S)    /* blocks kept: how far back an onset can be dated */
#define PAUSE (9 * BLOCKS_PER_S / 10) /* blocks without speech that end an utterance */
#define PADDING 15                    /* blocks around speech */
#define LEVEL_BLOCKS 5                /* blocks of the level that detects speech */
#define QUIET_BLOCKS 3                /* blocks of the level that the floor follows */
#define FLOOR_RISE 1.004              /* per block */
#define FLOOR_START 22500.0           /* mean square: an RMS of 150 */
#define FLOOR_LEAST 50.0
#define SPEECH_FACTOR 8.0
#define SPEECH_MARGIN 400.0
#define ONSET_FACTOR 4.0 /* times the floor: blocks before an onset that still belong to it */
#define ONSET_MARGIN 200.0
/* These levels suit a voice as loud as this one (mean square); for softer ones they are smaller. How loud it
 * is shows when it speaks: before, it is taken for one that is softer by 20 dB each second; after, by 2 dB.
 */
#define VOICE 4e6
#define ASSUMED_FALL 0.912   /* per block */
#define LOUDEST_FALL 0.99083 /* per block */
#define SCALE_LEAST 0.04

/* The pause that ends an utterance of at least this many blocks. */
static const struct {
    unsigned length, pause;
} pauses[] = {
    {15 * BLOCKS_PER_S, 0},
    {13 * BLOCKS_PER_S, 3},
    {10 * BLOCKS_PER_S, 10},
    {0, PAUSE},
};

struct endpoint {
    const struct endpoint_sink *sink;
    void *arg;
    int16_t samples[HISTORY][BLOCK]; /* ring, by block number */
    double energy[HISTORY];          /* mean square of a block */
    size_t filled;                   /* samples in the block being collected */
    uint64_t blocks;                 /* complete blocks so far */
    uint64_t passed;                 /* blocks before this one were passed on or belong to a gap */
    uint64_t start;                  /* first block of the open utterance */
    unsigned silent;                 /* blocks without speech at the end of the open utterance */
    bool open;
    double floor;
    double assumed, loudest; /* levels of the voice */
    double scale;            /* of the levels above */
};

struct endpoint *endpoint_new(const struct endpoint_sink *sink, void *arg)
{
    struct endpoint *ep = xcalloc(1, sizeof(*ep));
    ep->sink = sink;
    ep->arg = arg;
    ep->floor = FLOOR_START;
    ep->assumed = VOICE;
    return ep;
}

void endpoint_free(struct endpoint **ep)
{
    free(*ep);
    *ep = NULL;
}

/* Mean energy of the last `count` blocks, `block` being the newest. */
static double level(const struct endpoint *ep, uint64_t block, unsigned count)
{
    double sum = 0;
    unsigned n = 0;
    for (; n < count && n <= block; n++)
        sum += ep->energy[(block - n) % HISTORY];
    return sum / n;
}

static void pass_on(struct endpoint *ep, uint64_t end)
{
    for (; ep->passed < end; ep->passed++)
        ep->sink->audio(ep->arg, ep->samples[ep->passed % HISTORY], BLOCK);
}

static void close_utterance(struct endpoint *ep)
{
    ep->open = false;
    ep->sink->end(ep->arg, ep->passed * BLOCK);
}

/* Where the utterance would have begun, had the floor been known when speech was found in `block`: at the
 * oldest sound in the history that no whole pause separates from the block. */
static uint64_t find_onset(const struct endpoint *ep, uint64_t block, uint64_t oldest)
{
    uint64_t onset = block;
    for (uint64_t i = block; i > oldest && onset - i < PAUSE; i--)
        if (ep->energy[(i - 1) % HISTORY] > ONSET_FACTOR * ep->floor + ONSET_MARGIN * ep->scale)
            onset = i - 1;
    return onset;
}

static void open_utterance(struct endpoint *ep, uint64_t block)
{
    uint64_t oldest = block >= HISTORY ? block - HISTORY + 1 : 0;
    if (oldest < ep->passed)
        oldest = ep->passed;
    uint64_t onset = find_onset(ep, block, oldest);
    uint64_t start = onset > oldest + PADDING ? onset - PADDING : oldest;
    ep->open = true;
    ep->silent = 0;
    ep->start = ep->passed = start;
    ep->sink->begin(ep->arg, start * BLOCK);
}

static unsigned pause_that_ends(uint64_t length)
{
    size_t i = 0;
    while (length < pauses[i].length)
        i++;
    return pauses[i].pause;
}

/* Learns from the newest level how loud the voice is. */
static void set_scale(struct endpoint *ep, double sound)
{
    ep->assumed *= ASSUMED_FALL;
    ep->loudest *= LOUDEST_FALL;
    if (sound > ep->loudest)
        ep->loudest = sound;
    double scale = (ep->assumed > ep->loudest ? ep->assumed : ep->loudest) / VOICE;
    ep->scale = scale > 1 ? 1 : scale < SCALE_LEAST ? SCALE_LEAST : scale;
}

/* Processes the block just completed in the ring. */
static void take_block(struct endpoint *ep)
{
    uint64_t block = ep->blocks++;
    const int16_t *samples = ep->samples[block % HISTORY];
    double sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += (double)samples[i] * samples[i];
    ep->energy[block % HISTORY] = sum / BLOCK;

    double quiet = level(ep, block, QUIET_BLOCKS), sound = level(ep, block, LEVEL_BLOCKS);
    set_scale(ep, sound);
    ep->floor = quiet < ep->floor ? quiet : ep->floor * FLOOR_RISE;
    if (ep->floor < FLOOR_LEAST * ep->scale)
        ep->floor = FLOOR_LEAST * ep->scale;

    bool speech = sound > SPEECH_FACTOR * ep->floor + SPEECH_MARGIN * ep->scale;
    if (!ep->open) {
        if (!speech)
            return;
        open_utterance(ep, block);
    }
    ep->silent = speech ? 0 : ep->silent + 1;
    if (ep->silent <= PADDING)
        pass_on(ep, ep->blocks);
    if (ep->silent >= pause_that_ends(ep->blocks - ep->start))
        close_utterance(ep);
}

void endpoint_feed(struct endpoint *ep, const int16_t *samples, size_t count)
{
    while (count > 0) {
        size_t n = BLOCK - ep->filled;
        if (n > count)
            n = count;
        memcpy(ep->samples[ep->blocks % HISTORY] + ep->filled, samples, n * sizeof(*samples));
        ep->filled += n;
        samples += n;
        count -= n;
        if (ep->filled == BLOCK) {
            ep->filled = 0;
            take_block(ep);
        }
    }
}

void endpoint_finish(struct endpoint *ep)
{
    if (!ep->open)
        return;
    if (ep->silent <= PADDING && ep->filled > 0)
        ep->sink->audio(ep->arg, ep->samples[ep->blocks % HISTORY], ep->filled);
    ep->open = false;
    ep->sink->end(ep->arg, ep->passed * BLOCK + (ep->silent <= PADDING ? ep->filled : 0));
}
