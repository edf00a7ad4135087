/* SPDX-License-Identifier: MIT */
/* Identifiers and random text. Any thread; call sodium_init() before. */
#pragma once

#include "hub/base/span.h"

#include <stdint.h>

#define ID_SIZE 37 /* a UUID in text and its NUL */

/* Writes a new UUID version 7 (RFC 9562 §5.7: milliseconds, counter, random bits) in lower case. Ids made by
 * one thread sort by their creation, even if the clock goes back. */
void id_new(char id[static ID_SIZE]);
/* The same, with the ID_TAIL_BITS lowest bits of `tail` as its lowest bits. */
#define ID_TAIL_BITS 10
void id_new_tail(char id[static ID_SIZE], unsigned tail);
/* Writes the bytes as a UUID version 8 (RFC 9562 §5.8), which overwrites 6 of their bits; the same bytes give
 * the same id. */
void id_of_bytes(char id[static ID_SIZE], const unsigned char bytes[static 16]);
/* Returns the 16 bytes of a valid id. */
void id_bytes(unsigned char ret_bytes[static 16], const char id[static ID_SIZE]);
/* Whether `text` is a UUID in lower-case canonical form. */
bool id_valid(struct span text);
/* Writes the host's name, cut off, and 6 characters that distinguish this machine from others of the same
 * name: derived from its machine id and boot id, random if it has neither. */
#define ID_HOST_SIZE 48
void id_host(char text[static ID_HOST_SIZE]);
/* Writes `size - 1` random characters of [a-z0-9] and a NUL. */
void id_random(char *text, size_t size);
