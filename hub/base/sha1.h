/* SPDX-License-Identifier: MIT */
/* SHA-1 (FIPS 180-4), which the answer to a WebSocket's key is made with (RFC 6455 §4.2.2). Not for secrets:
 * collisions are known. Pure; any thread. */
#pragma once

#include "hub/base/span.h"

#define SHA1_SIZE 20
#define SHA1_TEXT_MAX 119 /* bytes: two blocks */
/* The digest of a text of at most SHA1_TEXT_MAX bytes. */
void sha1(struct span text, unsigned char to[static SHA1_SIZE]);
