/* SPDX-License-Identifier: MIT */
/* From the tracks and channels of a decoded file to one voice. Takes what ffmpeg writes as AVI with s16le
 * tracks of one or two channels at the rate of speech; gives mono samples of the track that has sound. One
 * thread per object. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACKS_MAX 4 /* tracks that are listened to */

struct tracks_sink {
    void *arg;
    void (*samples)(void *arg, const int16_t *samples, size_t count); /* borrowed for the call */
    void (*warn)(void *arg, const char *warning);                     /* a stable word */
};

struct tracks;

/* `sink` is copied. */
struct tracks *tracks_new(const struct tracks_sink *sink);
/* Takes the next bytes of the AVI stream. Returns whether any sound has come. */
bool tracks_feed(struct tracks *tracks, const void *bytes, size_t size);
/* No more bytes will come: gives the rest. */
void tracks_finish(struct tracks *tracks);
/* NULL is fine. */
void tracks_free(struct tracks **tracks);
