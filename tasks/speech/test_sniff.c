/* SPDX-License-Identifier: MIT */
/* Files of sound by their first bytes. */
#include "hub/base/mem.h"
#include "tasks/speech/sniff.h"
#include "tests/lib/tap.h"

static void test_tags(void)
{
    static const struct {
        const char *bytes;
        size_t length;
    } cases[] = {
        {"ID3\4\0\0\0\0\2\1", 10 + 257}, {"ID3\3\0\0\0\0\0\0", 10},  {"ID3\4\0\x10\0\0\0\5", 25},
        {"ID3\4\0\0\0\0\x80\1", 0},      {"ID3\xff\0\0\0\0\0\1", 0}, {"TAG\4\0\0\0\0\0\1", 0},
    };
    for (size_t i = 0; i < NELEMS(cases); i++)
        is_int(sniff_tag((const uint8_t *)cases[i].bytes), cases[i].length, "tag %zu", i);
}

/* Packets of a transport stream, `before` bytes in front of each. */
static void test_packets(void)
{
    uint8_t bytes[SNIFF_BYTES];
    for (size_t before = 0; before <= 4; before += 4) {
        memset(bytes, 0, sizeof(bytes));
        for (size_t at = before; at < sizeof(bytes); at += 188 + before)
            bytes[at] = 0x47;
        is_int(sniff_media(bytes, sizeof(bytes)), MEDIA_MPEGTS, "packets with %zu bytes before", before);
        is_int(sniff_media(bytes, 300), MEDIA_UNKNOWN, "too few of them");
        bytes[before + 188 + before] = 0;
        is_int(sniff_media(bytes, sizeof(bytes)), MEDIA_UNKNOWN, "a gap");
    }
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
        {"RIFF\0\0\0\0AVI LIST", 16, MEDIA_AVI, "avi"},
        {"RIFF\0\0\0\0WEBPVP8 ", 16, MEDIA_UNKNOWN, "a picture"},
        {"FORM\0\0\0\0AIFC", 12, MEDIA_AIFF, "aiff"},
        {"FORM\0\0\0\0ILBM", 12, MEDIA_UNKNOWN, "a picture of that family"},
        {"caff\0\1\0\0", 8, MEDIA_CAF, "caf"},
        {"riff\x2e\x91\xcf\x11\xa5\xd6", 10, MEDIA_W64, "w64"},
        {".snd\0\0\0\x18", 8, MEDIA_AU, "au"},
        {"#!AMR\n", 6, MEDIA_AMR, "amr"},
        {"#!AMR-WB\n", 9, MEDIA_AMR, "wide amr"},
        {"#!/bin/sh\n", 10, MEDIA_UNKNOWN, "a script"},
        {"\x0b\x77\0\0\x1e\x40", 6, MEDIA_AC3, "ac3"},
        {"\x0b\x77\0\0\x1e\x80", 6, MEDIA_EAC3, "enhanced ac3"},
        {"\0\0\1\xba\x44", 5, MEDIA_MPEG, "program stream"},
        {"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 8, MEDIA_ASF, "wma"},
        {"FLV\1\4", 5, MEDIA_FLV, "flv"},
        {"wvpk\0\0", 6, MEDIA_WAVPACK, "wavpack"},
        {"Creative Voice File\x1a\x1a", 21, MEDIA_VOC, "voc"},
        {"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42", 10, MEDIA_MATROSKA, "webm"},
        {"OggS\0\2\0\0\0\0", 10, MEDIA_OGG, "ogg"},
        {"fLaC\0\0\0\x22", 8, MEDIA_FLAC, "flac"},
        {"ID3\4\0\0\0\0\0", 9, MEDIA_UNKNOWN, "a tag alone"},
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
    test_tags();
    test_packets();
    return done_testing();
}
