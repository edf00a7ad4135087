/* SPDX-License-Identifier: MIT */
/* WAV files. Owns where in the file it is and the header that it gathers; never the sound. Trusts of the
 * header only what nothing else says: block size and byte rate follow from the rest, and a length that is too
 * small does not end the sound. Never blocks. */
#include "tasks/speech/wav.h"

#include "hub/base/buf.h"

#include <endian.h>
#include <stdio.h>

#define FORMAT_MAX 1024 /* bytes of a description of the samples */
#define FORMAT_MIN 16
#define SIZES_MAX 4096
#define CHANNELS_MAX 8
#define RATE_MIN 4000
#define RATE_MAX 192000
#define LENGTH_UNKNOWN 0x7ffff000u /* writers that cannot go back put 0 or something near a limit */
#define TAG_EXTENSIBLE 0xfffe

/* Samples that are read without a header, by the tag of their format and the bits of a sample. */
static const struct {
    unsigned tag, bits;
    const char *demuxer;
} raw_kinds[] = {
    {1, 8, "u8"},     {1, 16, "s16le"}, {1, 24, "s24le"}, {1, 32, "s32le"},
    {3, 32, "f32le"}, {3, 64, "f64le"}, {6, 8, "alaw"},   {7, 8, "mulaw"},
};

/* Chunks that describe a recording: nothing is lost with them. */
static const char descriptions[][5] = {
    "LIST", "id3 ", "ID3 ", "cue ", "smpl", "inst", "bext", "fact", "PEAK", "plst", "labl",
    "note", "ltxt", "_PMX", "iXML", "aXML", "axml", "chna", "JUNK", "junk", "PAD ", "FLLR",
    "afsp", "acid", "strc", "DISP", "cart", "umid", "minf", "elm1", "regn", "levl", "MD5 ",
};

enum part {
    HEAD,   /* of the file */
    HEADER, /* of a chunk before the sound */
    FORMAT,
    SIZES, /* of a big file */
    SKIPPED,
    SOUND,
    BEHIND, /* what follows the sound */
};

struct wav {
    struct wav_sink sink;
    struct input_failure *failure;
    enum part part;
    struct buf held;    /* of a part that is looked at as a whole */
    uint64_t left;      /* bytes of the part */
    uint64_t big_sound; /* length of the sound that stands in the sizes of a big file, 0 = none */
    struct buf format;  /* the chunk's content */
    bool started;       /* the sound has begun */
    bool open_ended;    /* the header does not know how long the sound is */
    bool odd;           /* a padding byte follows the part */
};

struct wav *wav_open(const struct wav_sink *sink, struct input_failure *failure)
{
    struct wav *it = xcalloc(1, sizeof(*it));
    it->sink = *sink;
    it->failure = failure;
    return it;
}

void wav_close(struct wav **wav)
{
    if (*wav == NULL)
        return;
    buf_free(&(*wav)->held);
    buf_free(&(*wav)->format);
    free(*wav);
    *wav = NULL;
}

static uint32_t read_le(const char *p, size_t bytes)
{
    uint32_t value = 0;
    memcpy(&value, p, bytes);
    return le32toh(value);
}

static void become(struct wav *it, enum part part, uint64_t left)
{
    it->part = part;
    it->left = left;
    buf_clear(&it->held);
}

/* ---- the samples' description ---- */

/* Bits of a stored sample: those of a whole number of bytes; derived if the header does not say. */
static unsigned stored_bits(const char *format, unsigned tag, unsigned channels)
{
    unsigned align = read_le(format + 12, 2), bits = read_le(format + 14, 2);
    if (tag == 6 || tag == 7)
        return 8;
    return bits ? (bits + 7) / 8 * 8 : align / channels * 8;
}

static const char *find_demuxer(unsigned tag, unsigned bits)
{
    for (size_t i = 0; i < NELEMS(raw_kinds); i++)
        if (raw_kinds[i].tag == tag && raw_kinds[i].bits == bits)
            return raw_kinds[i].demuxer;
    return NULL;
}

/* A header for a decoder of WAV files, with the description as it came and an open end. */
static void give_header(struct wav *it)
{
    struct buf header = BUF_INIT;
    uint32_t size = htole32((uint32_t)it->format.len);
    buf_append(&header, "RIFF\xff\xff\xff\xffWAVEfmt ", 16);
    buf_append(&header, &size, sizeof(size));
    buf_append_span(&header, buf_span(&it->format));
    if (it->format.len & 1)
        buf_append_char(&header, '\0');
    buf_append(&header, "data\xff\xff\xff\xff", 8);
    it->sink.data(it->sink.arg, (const uint8_t *)header.data, header.len);
    buf_free(&header);
}

/* Tells what samples will come. False if nobody reads them. */
static bool start_sound(struct wav *it)
{
    const char *format = it->format.data;
    if (it->format.len < FORMAT_MIN) {
        input_fail(it->failure, "bad_audio", "The WAV file does not say what samples it holds");
        return false;
    }
    unsigned tag = read_le(format, 2), channels = read_le(format + 2, 2), rate = read_le(format + 4, 4);
    if (channels < 1 || channels > CHANNELS_MAX || rate < RATE_MIN || rate > RATE_MAX) {
        char text[128];
        snprintf(text, sizeof(text), "The WAV file declares %u channels and %u samples per second", channels,
                 rate);
        input_fail(it->failure, "bad_audio", text);
        return false;
    }
    if (tag == TAG_EXTENSIBLE && it->format.len >= 26)
        tag = read_le(format + 24, 2);
    const char *demuxer = find_demuxer(tag, stored_bits(format, tag, channels));
    it->sink.format(it->sink.arg,
                    &(struct media_source){demuxer ? MEDIA_PCM : MEDIA_WAV, demuxer, rate, channels});
    if (demuxer == NULL)
        give_header(it);
    it->started = true;
    return true;
}

/* ---- chunks ---- */

static void begin_sound(struct wav *it, uint32_t size)
{
    uint64_t length = it->big_sound ? it->big_sound : size;
    it->open_ended = length == 0 || (length >= LENGTH_UNKNOWN && !it->big_sound);
    it->odd = length & 1;
    if (!it->started && !start_sound(it))
        return;
    if (length == 0) /* a chunk may follow, or the sound of a stream */
        become(it, BEHIND, 8);
    else
        become(it, SOUND, it->open_ended ? UINT64_MAX : length);
}

static bool is_description(const char *id)
{
    for (size_t i = 0; i < NELEMS(descriptions); i++)
        if (memcmp(id, descriptions[i], 4) == 0)
            return true;
    return false;
}

static void skip_chunk(struct wav *it, const char *header)
{
    uint64_t size = read_le(header + 4, 4);
    it->odd = false;
    become(it, SKIPPED, size + (size & 1));
}

/* A chunk before the sound. */
static void take_header(struct wav *it)
{
    char header[8];
    memcpy(header, it->held.data, sizeof(header));
    uint32_t size = read_le(header + 4, 4);
    if (memcmp(header, "data", 4) == 0)
        begin_sound(it, size);
    else if (memcmp(header, "fmt ", 4) == 0 && size <= FORMAT_MAX)
        become(it, FORMAT, size + (size & 1));
    else if (memcmp(header, "ds64", 4) == 0 && size <= SIZES_MAX)
        become(it, SIZES, size + (size & 1));
    else
        skip_chunk(it, header);
}

/* What stands where the sound should have ended: another chunk, or more sound. */
static void take_behind(struct wav *it)
{
    const char *header = it->held.data + it->held.len - 8;
    char copy[8];
    memcpy(copy, header, sizeof(copy));
    it->big_sound = 0;
    if (memcmp(copy, "data", 4) == 0) {
        begin_sound(it, read_le(copy + 4, 4));
    } else if (is_description(copy)) {
        skip_chunk(it, copy);
    } else if (it->odd && it->held.len == 8) { /* once more behind a padding byte */
        it->left = 1;
    } else {
        if (!it->open_ended)
            it->sink.warn(it->sink.arg, "length_wrong");
        it->open_ended = true;
        it->sink.data(it->sink.arg, (const uint8_t *)it->held.data, it->held.len);
        become(it, SOUND, UINT64_MAX);
    }
}

/* Looks at a part that has come as a whole. */
static void take_part(struct wav *it)
{
    switch (it->part) {
    case HEADER:
        take_header(it);
        return;
    case BEHIND:
        take_behind(it);
        return;
    case FORMAT:
        buf_clear(&it->format);
        buf_append_span(&it->format, buf_span(&it->held));
        break;
    case SIZES: /* of the file, then of the sound */
        if (it->held.len >= 16)
            it->big_sound = read_le(it->held.data + 8, 4) | (uint64_t)read_le(it->held.data + 12, 4) << 32;
        break;
    default:
        break;
    }
    become(it, HEADER, 8);
}

/* Takes bytes of the part; how many. */
static size_t take_bytes(struct wav *it, const uint8_t *bytes, size_t size)
{
    size_t n = it->left < size ? (size_t)it->left : size;
    it->left -= n;
    if (it->part == SOUND)
        it->sink.data(it->sink.arg, bytes, n);
    else if (it->part != SKIPPED)
        buf_append(&it->held, bytes, n);
    return n;
}

void wav_feed(struct wav *it, const uint8_t *bytes, size_t size)
{
    if (it->part == HEAD && it->left == 0 && it->held.len == 0)
        it->left = 12;
    while (size > 0 && !it->failure->code) {
        size_t n = take_bytes(it, bytes, size);
        bytes += n;
        size -= n;
        if (it->left > 0)
            continue;
        if (it->part == SOUND || (it->part == SKIPPED && it->started))
            become(it, BEHIND, 8);
        else
            take_part(it);
    }
}

void wav_finish(struct wav *it)
{
    if (!it->started)
        input_fail(it->failure, "bad_audio", "The WAV file ends before its sound");
    else if (it->part == SOUND && !it->open_ended && it->left > 0)
        it->sink.warn(it->sink.arg, "file_cut");
    else if (it->part == BEHIND && it->held.len > it->odd)
        it->sink.data(it->sink.arg, (const uint8_t *)it->held.data, it->held.len);
}
