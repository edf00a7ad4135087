/* SPDX-License-Identifier: MIT */
/* The decoder of files. Owns one fenced ffmpeg, the bytes on their way to it, and, for an MP4 file with
 * its index at the end and others of that kind, the unlinked file that collects it. One thread; never blocks.
 * The demuxer is forced to match the first bytes, and the protocols, demuxers and codecs are listed, so that
 * a disguised playlist cannot open anything. */
#include "tasks/speech/media.h"

#include "hub/base/log.h"
#include "tasks/speech/endpoint.h"
#include "tasks/speech/engine.h"
#include "tasks/speech/fence.h"
#include "tasks/speech/mend.h"
#include "tasks/speech/tracks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define PENDING_MAX (256 * 1024) /* bytes waiting before the input is full */
#define READ_BYTES 32768
/* Bytes, with what AVI adds. */
#define OUTPUT_MAX (5LL * SPEECH_RATE * TRACKS_MAX * (INPUT_SECONDS_MAX + 2))
/* Bytes of an MP4 inspected before its index is assumed to be at the end. */
#define INDEX_WAIT_MAX (64 * 1024)
#define CODECS                                                                                               \
    "opus,libopus,vorbis,libvorbis,aac,aac_fixed,aac_latm,mp3,mp3float,mp2,mp2float,mp1,mp1float,flac,alac," \
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,"   \
    "pcm_u8,pcm_s8,pcm_s16le_planar,pcm_s16be_planar,pcm_u16le,pcm_u16be,pcm_alaw,pcm_mulaw,pcm_bluray,"     \
    "pcm_dvd,s302m,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf,adpcm_yamaha,g722,g726,g726le,g723_1,gsm,"  \
    "gsm_ms,libgsm,libgsm_ms,amrnb,amrwb,qcelp,evrc,ilbc,truespeech,nellymoser,mace3,mace6,ac3,ac3_fixed,"   \
    "eac3,wmav1,wmav2,wmapro,wmavoice,wmalossless,wavpack,speex,libspeex"

/* How each kind is decoded. A file is gathered first where what describes its sound may stand behind it. */
static const struct {
    const char *demuxer, *name;
    bool gathered;
    const char *probe; /* bytes looked at before the first sample; NULL = 4096 */
} kinds[MEDIA_KINDS] = {
    [MEDIA_PCM] = {.demuxer = "s16le", .name = "raw"},
    [MEDIA_WAV] = {.demuxer = "wav", .name = "WAV"},
    [MEDIA_MATROSKA] = {.demuxer = "matroska", .name = "WebM or Matroska"},
    [MEDIA_OGG] = {.demuxer = "ogg", .name = "Ogg"},
    [MEDIA_FLAC] = {.demuxer = "flac", .name = "FLAC"},
    [MEDIA_MP3] = {.demuxer = "mp3", .name = "MP3"},
    [MEDIA_AAC] = {.demuxer = "aac", .name = "AAC"},
    [MEDIA_MP4] = {.demuxer = "mov", .name = "MP4"},
    [MEDIA_AIFF] = {.demuxer = "aiff", .name = "AIFF", .gathered = true},
    [MEDIA_CAF] = {.demuxer = "caf", .name = "CAF", .gathered = true},
    [MEDIA_W64] = {.demuxer = "w64", .name = "W64", .gathered = true},
    [MEDIA_AU] = {.demuxer = "au", .name = "AU"},
    [MEDIA_AMR] = {.demuxer = "amr", .name = "AMR"},
    [MEDIA_AC3] = {.demuxer = "ac3", .name = "AC-3"},
    [MEDIA_EAC3] = {.demuxer = "eac3", .name = "AC-3"},
    [MEDIA_MPEGTS] = {.demuxer = "mpegts", .name = "MPEG-TS", .probe = "500000"},
    [MEDIA_MPEG] = {.demuxer = "mpeg", .name = "MPEG", .probe = "500000"},
    [MEDIA_AVI] = {.demuxer = "avi", .name = "AVI"},
    [MEDIA_ASF] = {.demuxer = "asf", .name = "WMA"},
    [MEDIA_FLV] = {.demuxer = "flv", .name = "FLV", .probe = "500000"},
    [MEDIA_WAVPACK] = {.demuxer = "wv", .name = "WavPack", .gathered = true}, /* a tag may stand behind it */
    [MEDIA_VOC] = {.demuxer = "voc", .name = "VOC"},
};

enum how { UNDECIDED, THROUGH_PIPE, THROUGH_FILE };

struct media {
    struct media_source source;
    struct media_sink sink;
    enum how how;
    struct fence *fence;
    struct buf pending; /* not yet written to ffmpeg; while undecided, everything received */
    uint64_t box;       /* offset of the next top-level box of an MP4 */
    int file;           /* unlinked, -1 = none */
    bool finished;      /* no more bytes will come */
    bool ended;         /* ffmpeg is gone and everything was read */
    struct tracks *tracks;
    bool heard;       /* something came out */
    uint64_t ignored; /* bytes that ffmpeg did not read */
    struct input_failure *failure;
};

struct media *media_open(const struct media_source *source, const struct media_sink *sink,
                         struct input_failure *failure)
{
    struct media *it = xcalloc(1, sizeof(*it));
    it->source = *source;
    it->sink = *sink;
    it->failure = failure;
    it->file = -1;
    it->how = source->kind == MEDIA_MP4      ? UNDECIDED
              : kinds[source->kind].gathered ? THROUGH_FILE
                                             : THROUGH_PIPE;
    it->tracks = tracks_new(&(struct tracks_sink){sink->arg, sink->samples, sink->warn});
    return it;
}

void media_close(struct media **media)
{
    if (*media == NULL)
        return;
    fence_close(&(*media)->fence);
    if ((*media)->file >= 0)
        close((*media)->file);
    buf_free(&(*media)->pending);
    tracks_free(&(*media)->tracks);
    free(*media);
    *media = NULL;
}

/* ---- starting ffmpeg ---- */

static void start(struct media *it)
{
    bool pipe = it->how == THROUGH_PIPE;
    const struct media_source *source = &it->source;
    const char *demuxer = kinds[source->kind].demuxer, *probe = kinds[source->kind].probe;
    char declared[48] = "";
    if (source->kind == MEDIA_PCM)
        snprintf(declared, sizeof(declared), "-ar %u -ac %u", source->rate, source->channels);
    if (source->kind == MEDIA_PCM && source->samples)
        demuxer = source->samples;
    char *command = xasprintf(
        "ffmpeg -nostdin -v error -nostats -hide_banner -max_alloc 268435456 -threads 1 "
        /* the input: little look-ahead, so that live audio is decoded at once */
        "-probesize %s -analyzeduration 0 -max_streams 8 -protocol_whitelist %s -format_whitelist %s "
        "-codec_whitelist " CODECS " -vn -sn -dn -f %s %s -i %s "
        /* the output, for tracks.c: slightly above the maximum, so that the counter of samples notices that
         * there was more; tracks do not wait for each other */
        "-map 0:a:0 -map 0:a:1? -map 0:a:2? -map 0:a:3? -map_metadata -1 -t %d -fs %lld -ar %d "
        "-af aformat=channel_layouts=mono|stereo -c:a pcm_s16le -max_interleave_delta 1 -f avi "
        "-flush_packets 1 pipe:1",
        !pipe   ? "5000000"
        : probe ? probe
                : "4096",
        pipe ? "pipe" : "file", demuxer, demuxer, declared, pipe ? "pipe:0" : "/dev/fd/3",
        INPUT_SECONDS_MAX + 1, OUTPUT_MAX, SPEECH_RATE);
    const char *argv[FENCE_WORDS_MAX + 1];
    fence_words(command, argv);
    struct fence_spec spec = {.argv = argv,
                              .file = it->file,
                              .cpu_s = 300,
                              .wall_s = INPUT_SECONDS_MAX + 600,
                              .memory_bytes = (size_t)2 << 30};
    char *reason = NULL;
    it->fence = fence_start(&spec, &reason);
    if (it->fence == NULL)
        input_fail(it->failure, "media_decoder", reason);
    free(reason);
    free(command);
}

/* ---- an MP4: where is its index? ---- */

static uint64_t big_endian(const char *p, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | (uint8_t)p[i];
    return value;
}

/* Walks the top-level boxes: if the index (moov) precedes the data (mdat), a pipe suffices; else a file is
 * needed. */
static enum how decide(struct media *it)
{
    while (it->pending.len >= it->box + 16) {
        const char *box = it->pending.data + it->box;
        uint64_t size = big_endian(box, 4);
        if (memcmp(box + 4, "moov", 4) == 0)
            return THROUGH_PIPE;
        if (memcmp(box + 4, "mdat", 4) == 0)
            return THROUGH_FILE;
        if (size == 1)
            size = big_endian(box + 8, 8);
        if (size < 8 || size > INDEX_WAIT_MAX)
            return THROUGH_FILE;
        it->box += size;
    }
    return it->finished || it->pending.len > INDEX_WAIT_MAX ? THROUGH_FILE : UNDECIDED;
}

static void open_file(struct media *it)
{
    const char *directory = getenv("TMPDIR");
    it->file = open(directory ? directory : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (it->file < 0)
        input_fail(it->failure, "media_decoder", "there is no room for a temporary file");
}

static void write_to_file(struct media *it)
{
    size_t done = 0;
    while (done < it->pending.len) {
        ssize_t n = write(it->file, it->pending.data + done, it->pending.len - done);
        if (n < 0 && errno != EINTR) {
            input_fail(it->failure, "media_decoder", "the temporary file cannot be written");
            return;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    buf_clear(&it->pending);
}

static void gather(struct media *it)
{
    if (it->file < 0)
        open_file(it);
    if (it->file >= 0)
        write_to_file(it);
    if (it->finished && !it->failure->code) {
        if (mend_length(it->source.kind, it->file))
            it->sink.warn(it->sink.arg, "length_wrong");
        lseek(it->file, 0, SEEK_SET);
        start(it);
    }
}

/* ---- the stream ---- */

void media_feed(struct media *it, const uint8_t *bytes, size_t size)
{
    if (it->ended)
        it->ignored += size;
    else if (!it->failure->code)
        buf_append(&it->pending, bytes, size);
}

void media_finish(struct media *it)
{
    it->finished = true;
}

/* Complaints about embedded pictures, which are not decoded. */
static const char *const harmless[] = {"not on whitelist", "Last message repeated", NULL};

/* What ffmpeg said is the operator's: it speaks of its own insides. */
static void fail(struct media *it, const char *code, const char *message, int status)
{
    log_info("a file of sound cannot be decoded", "kind", kinds[it->source.kind].name, "status",
             LOG_NUM(status), "reason", fence_complaint(it->fence, harmless));
    input_fail(it->failure, code, message);
}

/* Derives the outcome from ffmpeg's end. */
static void conclude(struct media *it)
{
    int status = fence_status(it->fence);
    char message[sizeof(it->failure->message)];
    it->ended = true;
    it->ignored += it->pending.len + fence_unread(it->fence);
    buf_clear(&it->pending);
    tracks_finish(it->tracks);
    if (it->heard) {
        if (status || *fence_complaint(it->fence, harmless))
            it->sink.warn(it->sink.arg, "decode_errors");
        return;
    }
    snprintf(message, sizeof(message), "The %s file is damaged or ends too early",
             kinds[it->source.kind].name);
    if (status == 127)
        fail(it, "media_decoder", "ffmpeg cannot be started", status);
    else if (fence_said(it->fence, "matches no streams"))
        fail(it, "no_audio", "The file holds no audio that can be decoded", status);
    else if (fence_said(it->fence, "Decoder (codec ") || fence_said(it->fence, "Codec (") ||
             fence_said(it->fence, "not on whitelist"))
        fail(it, "bad_audio", "The file's audio is in a codec that is not supported", status);
    else if (status)
        fail(it, "bad_audio", message, status);
}

/* Reads once; false when ffmpeg has closed its output. */
static bool read_samples(struct media *it, bool *ret_more)
{
    uint8_t bytes[READ_BYTES];
    ssize_t n = fence_read(it->fence, bytes, sizeof(bytes));
    if (n > 0)
        it->heard |= tracks_feed(it->tracks, bytes, (size_t)n);
    *ret_more = n > 0;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

uint64_t media_ignored(const struct media *it)
{
    return it->ignored;
}

unsigned media_work(struct media *it)
{
    if (it->ended || it->failure->code)
        return ENGINE_IDLE;
    if (it->how == UNDECIDED)
        it->how = decide(it);
    if (it->how == THROUGH_FILE && it->fence == NULL)
        gather(it);
    if (it->how == THROUGH_PIPE && it->fence == NULL)
        start(it);
    if (it->fence == NULL)
        return ENGINE_IDLE;

    bool more;
    it->ignored += fence_send(it->fence, &it->pending);
    if (it->finished && it->pending.len == 0)
        fence_close_input(it->fence);
    if (!read_samples(it, &more) && fence_ended(it->fence)) {
        conclude(it);
        return ENGINE_IDLE;
    }
    fence_ended(it->fence); /* enforces its deadline and reads its stderr */
    unsigned load = more ? ENGINE_BUSY : ENGINE_WAITS;
    return it->pending.len > PENDING_MAX ? load | ENGINE_FULL : load;
}
