/* SPDX-License-Identifier: MIT */
/* What kind of audio file a stream is, by its first bytes. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNIFF_BYTES 16 /* enough to tell */

enum media_kind {
    MEDIA_UNKNOWN,
    MEDIA_WAV,
    MEDIA_MATROSKA, /* also webm */
    MEDIA_OGG,
    MEDIA_FLAC,
    MEDIA_MP3,
    MEDIA_AAC, /* raw ADTS frames */
    MEDIA_MP4, /* also mov, m4a */
    MEDIA_KINDS
};

enum media_kind sniff_media(const uint8_t *bytes, size_t size);
/* Whether a file's name says that it is headerless 16 kHz PCM: it ends in .raw or .pcm. */
bool sniff_raw_name(const char *name);
