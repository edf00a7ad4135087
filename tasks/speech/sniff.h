/* SPDX-License-Identifier: MIT */
/* What kind of audio file a stream is, by its first bytes. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNIFF_BYTES 400 /* enough to tell every kind; two packets of a transport stream */

enum media_kind {
    MEDIA_UNKNOWN,
    MEDIA_PCM, /* samples without a header: declared, never sniffed */
    MEDIA_WAV,
    MEDIA_MATROSKA, /* also webm */
    MEDIA_OGG,
    MEDIA_FLAC,
    MEDIA_MP3,
    MEDIA_AAC, /* raw ADTS frames */
    MEDIA_MP4, /* also mov, m4a, 3gp */
    MEDIA_AIFF,
    MEDIA_CAF,
    MEDIA_W64,
    MEDIA_AU,
    MEDIA_AMR,
    MEDIA_AC3,
    MEDIA_EAC3,
    MEDIA_MPEGTS,
    MEDIA_MPEG, /* program stream */
    MEDIA_AVI,
    MEDIA_ASF, /* also wma */
    MEDIA_FLV,
    MEDIA_WAVPACK,
    MEDIA_VOC,
    MEDIA_KINDS
};

struct media_source {
    enum media_kind kind;
    /* For MEDIA_PCM, else ignored: what the decoder calls such samples, a static word (NULL = s16le), samples
     * per second, channels. */
    const char *samples;
    unsigned rate, channels;
};

/* Returns the kind by the signatures of the formats' specifications; MEDIA_UNKNOWN if none matches. */
enum media_kind sniff_media(const uint8_t *bytes, size_t size);
/* Returns the length of the ID3 tag (id3.org, 2.2 to 2.4) that stands here; 0 if none does. */
#define SNIFF_TAG_BYTES 10 /* are needed to tell */
size_t sniff_tag(const uint8_t bytes[static SNIFF_TAG_BYTES]);
/* Whether a file's name says that it is headerless 16 kHz PCM: it ends in .raw or .pcm. */
bool sniff_raw_name(const char *name);
