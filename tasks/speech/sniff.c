/* SPDX-License-Identifier: MIT */
/* The signatures of files of sound. Owns nothing; reads at most SNIFF_BYTES. */
#include "tasks/speech/sniff.h"

#include "hub/base/mem.h"

#include <strings.h>

static const struct {
    size_t offset;
    const char *text;
    size_t length;
    enum media_kind kind;
} signatures[] = {
    {8, "WAVE", 4, MEDIA_WAV},
    {8, "AIFF", 4, MEDIA_AIFF},
    {8, "AIFC", 4, MEDIA_AIFF},
    {8, "AVI ", 4, MEDIA_AVI},
    {0, "\x1a\x45\xdf\xa3", 4, MEDIA_MATROSKA},
    {0, "OggS", 4, MEDIA_OGG},
    {0, "fLaC", 4, MEDIA_FLAC},
    {4, "ftyp", 4, MEDIA_MP4},
    {4, "styp", 4, MEDIA_MP4},
    {4, "moov", 4, MEDIA_MP4},
    {4, "mdat", 4, MEDIA_MP4},
    {4, "wide", 4, MEDIA_MP4},
    {4, "free", 4, MEDIA_MP4},
    {4, "skip", 4, MEDIA_MP4},
    {0, "caff", 4, MEDIA_CAF},
    {0, "riff\x2e\x91\xcf\x11", 8, MEDIA_W64},
    {0, ".snd", 4, MEDIA_AU},
    {0, "#!AMR", 5, MEDIA_AMR},
    {0, "\0\0\1\xba", 4, MEDIA_MPEG},
    {0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11", 8, MEDIA_ASF},
    {0, "FLV\1", 4, MEDIA_FLV},
    {0, "wvpk", 4, MEDIA_WAVPACK},
    {0, "Creative Voice File\x1a", 20, MEDIA_VOC},
};

/* An MPEG audio frame begins with eleven ones; the layer bits tell AAC (00) from layers I to III. */
static enum media_kind sniff_frame(const uint8_t *bytes, size_t size)
{
    if (size < 2 || bytes[0] != 0xff || (bytes[1] & 0xe0) != 0xe0)
        return MEDIA_UNKNOWN;
    if ((bytes[1] & 0x06) != 0)
        return MEDIA_MP3;
    return (bytes[1] & 0xf0) == 0xf0 ? MEDIA_AAC : MEDIA_UNKNOWN;
}

/* A frame of AC-3; the version tells the enhanced one. */
static enum media_kind sniff_ac3(const uint8_t *bytes, size_t size)
{
    if (size < 6 || bytes[0] != 0x0b || bytes[1] != 0x77)
        return MEDIA_UNKNOWN;
    return bytes[5] >> 3 > 10 ? MEDIA_EAC3 : MEDIA_AC3;
}

/* Packets of 188 bytes, or of 192 with four before each; one byte would match too much. */
static enum media_kind sniff_packets(const uint8_t *bytes, size_t size)
{
    static const size_t forms[][3] = {{0, 188, 376}, {4, 196, 388}};
    for (size_t i = 0; i < NELEMS(forms); i++)
        if (size > forms[i][2] && bytes[forms[i][0]] == 0x47 && bytes[forms[i][1]] == 0x47 &&
            bytes[forms[i][2]] == 0x47)
            return MEDIA_MPEGTS;
    return MEDIA_UNKNOWN;
}

enum media_kind sniff_media(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < NELEMS(signatures); i++)
        if (size >= signatures[i].offset + signatures[i].length &&
            memcmp(bytes + signatures[i].offset, signatures[i].text, signatures[i].length) == 0)
            return signatures[i].kind;
    static enum media_kind (*const others[])(const uint8_t *, size_t) = {sniff_frame, sniff_ac3,
                                                                         sniff_packets};
    enum media_kind kind = MEDIA_UNKNOWN;
    for (size_t i = 0; i < NELEMS(others) && kind == MEDIA_UNKNOWN; i++)
        kind = others[i](bytes, size);
    return kind;
}

size_t sniff_tag(const uint8_t bytes[static SNIFF_TAG_BYTES])
{
    size_t size = 0;
    if (memcmp(bytes, "ID3", 3) != 0 || bytes[3] == 0xff || bytes[4] == 0xff)
        return 0;
    for (size_t i = 6; i < SNIFF_TAG_BYTES; i++) {
        if (bytes[i] & 0x80)
            return 0;
        size = size << 7 | bytes[i];
    }
    return SNIFF_TAG_BYTES + size + (bytes[5] & 0x10 ? SNIFF_TAG_BYTES : 0); /* the footer is as long */
}

bool sniff_raw_name(const char *name)
{
    const char *dot = name ? strrchr(name, '.') : NULL;
    return dot && (strcasecmp(dot, ".raw") == 0 || strcasecmp(dot, ".pcm") == 0);
}
