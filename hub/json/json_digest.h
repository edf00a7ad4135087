/* SPDX-License-Identifier: MIT */
/* A digest of a JSON text's meaning: white space, the order of members, escapes and the spelling of
 * numbers do not matter; 1, 1.0 and 10e-1 are the same number, and so are 0 and -0. Any thread. */
#pragma once

#include "hub/base/span.h"

#define JSON_DIGEST_SIZE 16

/* `text` must be accepted by json_check(). The digest is the same in every process on machines of one byte
 * order. It is not collision-resistant: an attacker can make two texts with the same digest. */
void json_digest(struct span text, unsigned char ret_digest[static JSON_DIGEST_SIZE]);
