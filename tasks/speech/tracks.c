/* SPDX-License-Identifier: MIT */
/* Tracks and channels. Owns the samples that have come of each track and a short memory of how loud it was.
 * Reads only what this program's own ffmpeg writes; runs in the child of one task.
 *
 * Sound moves in blocks of 20 ms. The two channels of a track are averaged, unless they cancel each other
 * out, as with a microphone wired in opposite phase: then the louder one is taken. Of several tracks the
 * first is taken until it is silent while another is not, as in recordings of a screen that begin with a
 * silent track. What is chosen depends on the samples alone, not on how they came. */
#include "tasks/speech/tracks.h"

#include "hub/base/buf.h"
#include "tasks/speech/endpoint.h"

#include <endian.h>

#define BLOCK ENDPOINT_PIECE
#define LAG_MAX (2 * SPEECH_RATE) /* a track this far behind the others is not waited for */
#define CHUNK_MAX (1U << 20)      /* bytes of a chunk of sound; ffmpeg's have some kilobytes */
#define FORMAT_MAX 64             /* bytes of a track's description */
#define MEMORY 0.02               /* weight of a new block: a second counts */
#define SILENT 25.0               /* mean square: below, a track has no sound at all */
#define SOUND 400.0               /* above, it has */
#define LOUDER 100.0              /* times: 20 dB */
#define CANCELLED 0.1             /* of the louder channel's energy is left in the average */
#define NOT_CANCELLED 0.2

struct track {
    unsigned channels;
    struct buf frames; /* s16, channels interleaved */
    uint64_t position; /* of the first frame in the buffer */
    double left, right, middle;
    bool cancelled;
    double level; /* of what it gives */
};

struct tracks {
    struct tracks_sink sink;
    struct buf bytes; /* of the AVI stream, not yet understood */
    uint64_t skip;    /* bytes of it that mean nothing here */
    struct track list[TRACKS_MAX];
    unsigned count, chosen;
    uint64_t given; /* samples */
    bool heard, warned;
};

struct tracks *tracks_new(const struct tracks_sink *sink)
{
    struct tracks *it = xcalloc(1, sizeof(*it));
    it->sink = *sink;
    return it;
}

void tracks_free(struct tracks **tracks)
{
    if (*tracks == NULL)
        return;
    for (unsigned i = 0; i < TRACKS_MAX; i++)
        buf_free(&(*tracks)->list[i].frames);
    buf_free(&(*tracks)->bytes);
    free(*tracks);
    *tracks = NULL;
}

/* ---- from channels to one ---- */

static double remember(double energy, double now)
{
    return energy + MEMORY * (now - energy);
}

static const int16_t *frames_of(const struct track *track)
{
    return (const int16_t *)(const void *)track->frames.data;
}

/* Decides between the average of two channels and the louder one. */
static void weigh(struct track *track, size_t count)
{
    const int16_t *frames = frames_of(track);
    double left = 0, right = 0, middle = 0;
    for (size_t i = 0; i < count; i++) {
        double l = frames[2 * i], r = frames[2 * i + 1], m = (l + r) / 2;
        left += l * l;
        right += r * r;
        middle += m * m;
    }
    track->left = remember(track->left, left / (double)count);
    track->right = remember(track->right, right / (double)count);
    track->middle = remember(track->middle, middle / (double)count);
    double louder = track->left > track->right ? track->left : track->right;
    track->cancelled = track->middle < (track->cancelled ? NOT_CANCELLED : CANCELLED) * louder;
}

/* Takes the next `count` frames out of the track; writes what is heard of them. */
static void mix(struct track *track, size_t count, int16_t to[static BLOCK])
{
    const int16_t *frames = frames_of(track);
    double sum = 0;
    if (track->channels == 2)
        weigh(track, count);
    for (size_t i = 0; i < count; i++) {
        if (track->channels == 1)
            to[i] = frames[i];
        else if (track->cancelled)
            to[i] = frames[2 * i + (track->right > track->left)];
        else
            to[i] = (int16_t)((frames[2 * i] + frames[2 * i + 1]) / 2);
        sum += (double)to[i] * to[i];
    }
    track->level = remember(track->level, count ? sum / (double)count : 0);
    track->position += count;
    buf_consume(&track->frames, count * track->channels * sizeof(*frames));
}

/* ---- from tracks to one ---- */

/* Where the samples that have come of a track end. */
static uint64_t end_of(const struct track *track)
{
    return track->position + track->frames.len / (track->channels * sizeof(int16_t));
}

/* Gives `count` samples from where the output stands: of the chosen track; silence where it has none. */
static void give_block(struct tracks *it, size_t count)
{
    int16_t heard[TRACKS_MAX][BLOCK] = {{0}};
    for (unsigned i = 0; i < it->count; i++) {
        struct track *track = &it->list[i];
        uint64_t there = end_of(track) > it->given ? end_of(track) - it->given : 0;
        mix(track, there < count ? (size_t)there : count, heard[i]);
    }
    unsigned loudest = it->chosen;
    for (unsigned i = 0; i < it->count; i++)
        loudest = it->list[i].level > it->list[loudest].level ? i : loudest;
    double level = it->list[it->chosen].level;
    if (level < SILENT && it->list[loudest].level > SOUND && it->list[loudest].level > LOUDER * level)
        it->chosen = loudest;
    for (unsigned i = 0; i < it->count && !it->warned; i++)
        if (i != it->chosen && it->list[i].level > SOUND) {
            it->sink.warn(it->sink.arg, "other_tracks");
            it->warned = true;
        }
    it->given += count;
    it->sink.samples(it->sink.arg, heard[it->chosen], count);
}

/* Gives the blocks that all tracks have, or that one has by far. */
static void give_blocks(struct tracks *it, bool rest)
{
    for (;;) {
        uint64_t first = UINT64_MAX, last = 0;
        for (unsigned i = 0; i < it->count; i++) {
            uint64_t end = end_of(&it->list[i]);
            first = end < first ? end : first;
            last = end > last ? end : last;
        }
        if (last >= it->given + BLOCK && (rest || first >= it->given + BLOCK || last >= it->given + LAG_MAX))
            give_block(it, BLOCK);
        else if (rest && last > it->given)
            give_block(it, (size_t)(last - it->given));
        else
            return;
    }
}

/* ---- the AVI stream ---- */

static uint32_t read_le32(const char *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof(value));
    return le32toh(value);
}

/* A track's description: the number of channels stands behind the codec. */
static void add_track(struct tracks *it, const char *format, size_t size)
{
    if (it->count < TRACKS_MAX && size >= 4)
        it->list[it->count++].channels = format[2] == 2 ? 2 : 1;
}

/* Adds sound to a track. Sound that comes after its time has been given is left out. */
static void add_sound(struct tracks *it, unsigned number, const char *bytes, size_t size)
{
    if (number >= it->count)
        return;
    it->heard |= size > 0;
    struct track *track = &it->list[number];
    size_t frame = track->channels * sizeof(int16_t);
    size_t before = track->frames.len / sizeof(int16_t);
    buf_append(&track->frames, bytes, size / frame * frame);
    int16_t *samples = (int16_t *)(void *)track->frames.data;
    for (size_t i = before; i < track->frames.len / sizeof(*samples); i++)
        samples[i] = (int16_t)le16toh((uint16_t)samples[i]);
    if (track->position < it->given) {
        uint64_t late = it->given - track->position, count = track->frames.len / frame;
        late = late < count ? late : count;
        buf_consume(&track->frames, (size_t)late * frame);
        track->position += late;
    }
}

/* Understands the chunk that the bytes begin with. False if more of it must come first. */
static bool take_chunk(struct tracks *it)
{
    const char *id = it->bytes.data;
    uint32_t size = read_le32(id + 4);
    if (memcmp(id, "RIFF", 4) == 0 || memcmp(id, "LIST", 4) == 0) { /* holds the chunks that follow */
        it->skip = 12;
        return true;
    }
    bool format = memcmp(id, "strf", 4) == 0 && size <= FORMAT_MAX;
    bool sound = memcmp(id + 2, "wb", 2) == 0 && size <= CHUNK_MAX;
    it->skip = 8 + (uint64_t)size + (size & 1);
    if ((format || sound) && it->bytes.len < 8 + (size_t)size) {
        it->skip = 0;
        return false;
    }
    if (format)
        add_track(it, id + 8, size);
    if (sound) {
        add_sound(it, (unsigned)(id[0] - '0') * 10 + (unsigned)(id[1] - '0'), id + 8, size);
        give_blocks(it, false);
    }
    return true;
}

bool tracks_feed(struct tracks *it, const void *bytes, size_t size)
{
    buf_append(&it->bytes, bytes, size);
    for (;;) {
        size_t skipped = it->skip < it->bytes.len ? (size_t)it->skip : it->bytes.len;
        buf_consume(&it->bytes, skipped);
        it->skip -= skipped;
        if (it->skip || it->bytes.len < 12 || !take_chunk(it))
            return it->heard;
    }
}

void tracks_finish(struct tracks *it)
{
    give_blocks(it, true);
}
