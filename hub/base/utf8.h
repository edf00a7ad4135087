/* SPDX-License-Identifier: MIT */
/* UTF-8 (RFC 3629 §4): no overlong forms, no surrogates, nothing above U+10FFFF. No state; any thread. */
#pragma once

#include <stddef.h>

/* Bytes (1–4) of the character at p, of which `left` (at least 1) may be read; 0 if it is not valid. */
size_t utf8_length(const unsigned char *p, size_t left);
/* Writes a code point (not a surrogate, at most 0x10ffff) as 1–4 bytes and returns how many. */
unsigned utf8_encode(unsigned long code, unsigned char to[static 4]);
