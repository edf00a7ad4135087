/* SPDX-License-Identifier: MIT */
/* The WAV parser, a machine of few states. Owns a header piece of at most 40 bytes: what a hostile size
 * claims is only counted down, never allocated. Sample data of unknown length (size 0 or near 2^32, as
 * streaming writers leave it) runs to the end of the stream. */
#include "tasks/speech/wav.h"

#include "tasks/speech/resample.h"

#define HEADER_MAX 40 /* of a chunk `fmt ` that matters */
#define SIZE_UNKNOWN 0xfffffff0u

enum state { IN_RIFF, IN_CHUNK, IN_FORMAT, IN_SKIP, IN_DATA, AT_END, BROKEN };

struct wav {
    struct wav_sink sink;
    enum state state;
    uint8_t header[HEADER_MAX]; /* what of the current piece has come */
    size_t have, want;
    uint64_t left; /* bytes of the chunk still to skip or to give */
    bool endless;  /* sample data runs to the end of the stream */
    bool known;    /* the format was read */
    const char *reason;
};

static uint32_t u32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static unsigned u16(const uint8_t *p)
{
    return p[0] | (unsigned)p[1] << 8;
}

static void wav_become(struct wav *it, enum state state, size_t want)
{
    it->state = state;
    it->have = 0;
    it->want = want;
}

struct wav *wav_new(const struct wav_sink *sink)
{
    struct wav *it = xcalloc(1, sizeof(*it));
    it->sink = *sink;
    wav_become(it, IN_RIFF, 12);
    return it;
}

void wav_free(struct wav **wav)
{
    free(*wav);
    *wav = NULL;
}

const char *wav_reason(const struct wav *wav)
{
    return wav->reason;
}

static void fail(struct wav *it, const char *reason)
{
    wav_become(it, BROKEN, 0);
    it->reason = reason;
}

/* ---- pieces of the header ---- */

static const struct {
    unsigned tag, bits;
    enum pcm_encoding encoding;
} layouts[] = {
    {1, 8, PCM_U8}, {1, 16, PCM_S16}, {1, 24, PCM_S24}, {1, 32, PCM_S32}, {3, 32, PCM_F32}, {3, 64, PCM_F64},
};

static void read_format(struct wav *it, size_t size)
{
    unsigned tag = u16(it->header), channels = u16(it->header + 2), align = u16(it->header + 12);
    unsigned bits = u16(it->header + 14);
    uint32_t rate = u32(it->header + 4);
    if (tag == 0xfffe && size >= 26) /* extensible: the tag begins the sub-format's id */
        tag = u16(it->header + 24);
    size_t i = 0;
    while (i < NELEMS(layouts) && (layouts[i].tag != tag || layouts[i].bits != bits))
        i++;
    if (i == NELEMS(layouts)) {
        fail(it, "the WAV file is not linear PCM of 8, 16, 24 or 32 bits or floats");
    } else if (channels < 1 || channels > PCM_CHANNELS_MAX) {
        fail(it, "the WAV file must have 1 to 8 channels");
    } else if (rate < RESAMPLE_RATE_MIN || rate > RESAMPLE_RATE_MAX) {
        fail(it, "the WAV file's sample rate must be 4 000 to 192 000 Hz");
    } else if (align != channels * pcm_sample_bytes(layouts[i].encoding)) {
        fail(it, "the WAV file's block size contradicts its format");
    } else {
        it->known = true;
        it->sink.format(it->sink.arg, &(struct pcm_format){layouts[i].encoding, rate, channels});
    }
}

static void read_chunk_header(struct wav *it)
{
    uint32_t size = u32(it->header + 4);
    uint64_t padded = (uint64_t)size + (size & 1);
    if (memcmp(it->header, "fmt ", 4) == 0) {
        if (size < 16 || it->known) {
            fail(it, it->known ? "the WAV file has two formats" : "the WAV file's format is too short");
            return;
        }
        it->left = padded;
        wav_become(it, IN_FORMAT, padded < HEADER_MAX ? (size_t)padded : HEADER_MAX);
    } else if (memcmp(it->header, "data", 4) == 0) {
        if (!it->known) {
            fail(it, "the WAV file's data stands before its format");
            return;
        }
        it->endless = size == 0 || size >= SIZE_UNKNOWN;
        it->left = size;
        wav_become(it, IN_DATA, 0);
    } else {
        it->left = padded;
        wav_become(it, IN_SKIP, 0);
    }
}

static void read_riff(struct wav *it)
{
    bool riff = memcmp(it->header, "RIFF", 4) == 0 || memcmp(it->header, "RF64", 4) == 0;
    if (!riff || memcmp(it->header + 8, "WAVE", 4) != 0)
        fail(it, "this is not a WAV file");
    else
        wav_become(it, IN_CHUNK, 8);
}

/* The wanted bytes are there. */
static void take_header(struct wav *it)
{
    if (it->state == IN_RIFF) {
        read_riff(it);
    } else if (it->state == IN_CHUNK) {
        read_chunk_header(it);
    } else {
        size_t have = it->have;
        it->left -= have;
        read_format(it, have);
        if (it->state != BROKEN)
            wav_become(it, IN_SKIP, 0);
    }
}

/* ---- the stream ---- */

/* Takes from `bytes` what the state wants; how many bytes that were. */
static size_t step(struct wav *it, const uint8_t *bytes, size_t size)
{
    size_t n = size;
    switch (it->state) {
    case IN_SKIP:
        n = it->left < size ? (size_t)it->left : size;
        it->left -= n;
        if (it->left == 0)
            wav_become(it, IN_CHUNK, 8);
        return n;
    case IN_DATA:
        if (!it->endless && it->left < size)
            n = (size_t)it->left;
        it->sink.data(it->sink.arg, bytes, n);
        it->left -= it->endless ? 0 : n;
        if (!it->endless && it->left == 0)
            wav_become(it, AT_END, 0);
        return n;
    case AT_END:
        return size;
    default:
        n = it->want - it->have < size ? it->want - it->have : size;
        memcpy(it->header + it->have, bytes, n);
        it->have += n;
        if (it->have == it->want)
            take_header(it);
        return n;
    }
}

bool wav_feed(struct wav *it, const uint8_t *bytes, size_t size)
{
    while (size && it->state != BROKEN) {
        size_t n = step(it, bytes, size);
        bytes += n;
        size -= n;
    }
    return it->state != BROKEN;
}

bool wav_finish(struct wav *it)
{
    if (it->state != BROKEN && it->state != IN_DATA && it->state != AT_END)
        fail(it, "the WAV file ends before its sample data");
    return it->state != BROKEN;
}
