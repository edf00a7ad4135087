/* SPDX-License-Identifier: MIT */
/* Containers by their first bytes. */
#include "hub/base/mem.h"
#include "tasks/speech/sniff.h"
#include "tests/lib/tap.h"

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
    return done_testing();
}
