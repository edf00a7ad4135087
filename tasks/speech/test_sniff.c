/* SPDX-License-Identifier: MIT */
/* Containers by their first bytes. */
#include "hub/base/mem.h"
#include "tasks/speech/sniff.h"
#include "tests/lib/tap.h"

/* The usual header: size of the samples at 40, channels at 22, rate at 24, all little endian. */
static void make_header(uint8_t to[static SNIFF_BYTES], unsigned channels, unsigned rate, uint32_t size)
{
    static const char usual[] = "RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0data\0\0\0";
    memcpy(to, usual, SNIFF_BYTES);
    for (unsigned i = 0; i < 4; i++) {
        to[24 + i] = (uint8_t)(rate >> 8 * i);
        to[40 + i] = (uint8_t)(size >> 8 * i);
    }
    to[22] = (uint8_t)channels;
    to[23] = (uint8_t)(channels >> 8);
}

static void test_plain_wav(void)
{
    static const struct {
        unsigned channels, rate;
        uint32_t size;
        bool plain;
        uint64_t bytes;
    } cases[] = {
        {1, 16000, 8, true, 8},
        {2, 44100, 4000000000u, true, 4000000000u},
        {1, 16000, 0, true, UINT64_MAX},
        {1, 16000, 0xffffffff, true, UINT64_MAX},
        {8, 192000, 0xfffffff0, true, UINT64_MAX},
        {0, 16000, 8, false, 0},
        {9, 16000, 8, false, 0},
        {65535, 16000, 8, false, 0},
        {1, 3999, 8, false, 0},
        {1, 4000000000u, 8, false, 0},
    };
    uint8_t header[SNIFF_BYTES];
    struct media_source source = {.kind = MEDIA_WAV};
    uint64_t bytes = 0;
    for (size_t i = 0; i < NELEMS(cases); i++) {
        make_header(header, cases[i].channels, cases[i].rate, cases[i].size);
        bool plain = sniff_plain_wav(header, &source, &bytes);
        ok(plain == cases[i].plain, "case %zu is %s", i, cases[i].plain ? "plain" : "for the decoder");
        if (plain)
            ok(source.kind == MEDIA_PCM && source.rate == cases[i].rate &&
                   source.channels == cases[i].channels && bytes == cases[i].bytes,
               "rate, channels and size of case %zu", i);
    }
    make_header(header, 1, 16000, 8);
    header[34] = 24;
    source = (struct media_source){.kind = MEDIA_WAV};
    ok(!sniff_plain_wav(header, &source, &bytes) && source.kind == MEDIA_WAV, "24 bits are for the decoder");
    make_header(header, 1, 16000, 8);
    memcpy(header + 36, "LIST", 4);
    ok(!sniff_plain_wav(header, &source, &bytes), "and so is what stands before the samples");
}

int main(void)
{
    static const struct {
        const char *bytes;
        size_t size;
        enum media_kind kind;
        const char *what;
    } cases[] = {
        {"RIFF\0\0\0\0WAVEfmt ", 16, MEDIA_WAV, "wav"},
        {"RF64\0\0\0\0WAVEds64", 16, MEDIA_WAV, "big wav"},
        {"RIFF\0\0\0\0AVI LIST", 16, MEDIA_UNKNOWN, "avi"},
        {"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42", 10, MEDIA_MATROSKA, "webm"},
        {"OggS\0\2\0\0\0\0", 10, MEDIA_OGG, "ogg"},
        {"fLaC\0\0\0\x22", 8, MEDIA_FLAC, "flac"},
        {"ID3\4\0\0\0\0\0", 9, MEDIA_MP3, "mp3 with a tag"},
        {"\xff\xfb\x90\x64", 4, MEDIA_MP3, "mp3 frame"},
        {"\xff\xf3\x40\xc4", 4, MEDIA_MP3, "mp3 frame of low rate"},
        {"\xff\xf1\x50\x80", 4, MEDIA_AAC, "aac"},
        {"\xff\xe0\0\0", 4, MEDIA_UNKNOWN, "a reserved frame"},
        {"\0\0\0\x18"
         "ftypisom",
         12, MEDIA_MP4, "mp4"},
        {"\0\0\0\x18"
         "moov....",
         12, MEDIA_MP4, "old mov"},
        {"#EXTM3U\nfile:///", 16, MEDIA_UNKNOWN, "playlist"},
        {"ffconcat version", 16, MEDIA_UNKNOWN, "concat script"},
        {"Ogg", 3, MEDIA_UNKNOWN, "too short to tell"},
        {"", 0, MEDIA_UNKNOWN, "nothing"},
    };
    for (size_t i = 0; i < NELEMS(cases); i++)
        is_int(sniff_media((const uint8_t *)cases[i].bytes, cases[i].size), cases[i].kind, "%s",
               cases[i].what);
    ok(sniff_raw_name("a.raw") && sniff_raw_name("b.c.PCM"), "names of raw samples");
    ok(!sniff_raw_name("raw") && !sniff_raw_name("a.wav") && !sniff_raw_name(NULL), "other names");
    test_plain_wav();
    return done_testing();
}
