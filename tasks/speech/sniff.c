/* SPDX-License-Identifier: MIT */
/* The signatures of containers, and the usual header of a WAV file. Owns nothing; reads at most SNIFF_BYTES.
 */
#include "tasks/speech/sniff.h"

#include "hub/base/mem.h"

#include <endian.h>
#include <strings.h>

#define SIZE_UNKNOWN 0xfffffff0u
#define CHANNELS_MAX 8
#define RATE_MIN 4000
#define RATE_MAX 192000

static const struct {
    size_t offset;
    const char *text;
    size_t length;
    enum media_kind kind;
} signatures[] = {
    {8, "WAVE", 4, MEDIA_WAV}, {0, "\x1a\x45\xdf\xa3", 4, MEDIA_MATROSKA},
    {0, "OggS", 4, MEDIA_OGG}, {0, "fLaC", 4, MEDIA_FLAC},
    {0, "ID3", 3, MEDIA_MP3},  {4, "ftyp", 4, MEDIA_MP4},
    {4, "styp", 4, MEDIA_MP4}, {4, "moov", 4, MEDIA_MP4},
    {4, "mdat", 4, MEDIA_MP4}, {4, "wide", 4, MEDIA_MP4},
    {4, "free", 4, MEDIA_MP4}, {4, "skip", 4, MEDIA_MP4},
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

enum media_kind sniff_media(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < NELEMS(signatures); i++)
        if (size >= signatures[i].offset + signatures[i].length &&
            memcmp(bytes + signatures[i].offset, signatures[i].text, signatures[i].length) == 0)
            return signatures[i].kind;
    return sniff_frame(bytes, size);
}

bool sniff_plain_wav(const uint8_t header[static SNIFF_BYTES], struct media_source *ret_source,
                     uint64_t *ret_bytes)
{
    uint16_t channels;
    uint32_t rate, size;
    memcpy(&channels, header + 22, sizeof(channels));
    memcpy(&rate, header + 24, sizeof(rate));
    memcpy(&size, header + 40, sizeof(size));
    struct media_source found = {MEDIA_PCM, le32toh(rate), le16toh(channels)};
    if (memcmp(header + 8, "WAVEfmt \x10\0\0\0\1\0", 14) != 0 || memcmp(header + 34, "\x10\0data", 6) != 0 ||
        found.channels < 1 || found.channels > CHANNELS_MAX || found.rate < RATE_MIN || found.rate > RATE_MAX)
        return false;
    *ret_source = found;
    *ret_bytes = size == 0 || le32toh(size) >= SIZE_UNKNOWN ? UINT64_MAX : le32toh(size);
    return true;
}

bool sniff_raw_name(const char *name)
{
    const char *dot = name ? strrchr(name, '.') : NULL;
    return dot && (strcasecmp(dot, ".raw") == 0 || strcasecmp(dot, ".pcm") == 0);
}
