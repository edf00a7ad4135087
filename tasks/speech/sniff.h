/* SPDX-License-Identifier: MIT */
/* What kind of audio file a stream is, by its first bytes. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNIFF_BYTES 44 /* enough to tell; the usual header of a WAV file */

enum media_kind {
    MEDIA_UNKNOWN,
    MEDIA_PCM, /* headerless s16le: declared, never sniffed */
    MEDIA_WAV,
    MEDIA_MATROSKA, /* also webm */
    MEDIA_OGG,
    MEDIA_FLAC,
    MEDIA_MP3,
    MEDIA_AAC, /* raw ADTS frames */
    MEDIA_MP4, /* also mov, m4a */
    MEDIA_KINDS
};

struct media_source {
    enum media_kind kind;
    unsigned rate, channels; /* for MEDIA_PCM: samples per second, 1 or more; else ignored */
};

/* Returns the kind by the signatures of the formats' specifications; MEDIA_UNKNOWN if none matches. */
enum media_kind sniff_media(const uint8_t *bytes, size_t size);
/* Whether a WAV file begins with the usual header of s16le samples and nothing else. Then *ret_source
 * describes what follows these bytes, and *ret_bytes is its length; UINT64_MAX = to the end of the stream,
 * which streaming writers leave open (size 0 or near 2^32). */
bool sniff_plain_wav(const uint8_t header[static SNIFF_BYTES], struct media_source *ret_source,
                     uint64_t *ret_bytes);
/* Whether a file's name says that it is headerless 16 kHz PCM: it ends in .raw or .pcm. */
bool sniff_raw_name(const char *name);
