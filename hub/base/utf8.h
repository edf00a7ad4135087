/* SPDX-License-Identifier: MIT */
/* UTF-8 (RFC 3629 §4): no overlong forms, no surrogates, nothing above U+10FFFF. No state; any thread. */
#pragma once

#include "hub/base/span.h"

/* Returns the length (1 to 4 bytes) of the character at p, 0 if it is not valid. `left` bytes, at least 1,
 * may be read. */
size_t utf8_length(const unsigned char *p, size_t left);
/* Whether all of it is valid; an empty text is. */
bool utf8_valid(struct span text);
/* How many of the first bytes may stand unescaped in a JSON string: ASCII without control characters, '"' and
 * '\\'. */
size_t utf8_plain(const unsigned char *p, size_t n);
/* Returns the code point of a valid character of `length` bytes. */
unsigned long utf8_decode(const unsigned char *p, size_t length);
/* Writes a code point (no surrogate, at most 0x10ffff) and returns its length, 1 to 4 bytes. */
unsigned utf8_encode(unsigned long code, unsigned char to[static 4]);
/* Whether `n` bytes are printable: valid UTF-8 without controls (C0, DEL, C1), line and paragraph separators,
 * and marks that change the direction of text. */
bool utf8_printable(const char *text, size_t n);
