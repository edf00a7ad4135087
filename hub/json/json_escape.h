/* SPDX-License-Identifier: MIT */
/* Escapes inside JSON strings: for the files of the slicer. No state; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The four hex digits at p as a number, -1 if they are not four. */
long json_hex4(const unsigned char *p, const unsigned char *end);

/* Decodes the inside of a checked string byte by byte, so that names can be hashed and compared without
 * a copy. */
struct json_unescape {
    const unsigned char *p, *end;
    unsigned char out[4]; /* a decoded \u sequence */
    unsigned have, given; /* of its bytes */
};
struct json_unescape json_unescape(const void *p, size_t n);
int json_unescape_other(struct json_unescape *u); /* the next byte of an escape */
/* The next byte, -1 at the end. */
static inline int json_unescape_next(struct json_unescape *u)
{
    bool plain = u->given == u->have && u->p < u->end && *u->p != '\\';
    return plain ? *u->p++ : json_unescape_other(u);
}
