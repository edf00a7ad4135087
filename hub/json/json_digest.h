/* SPDX-License-Identifier: MIT */
/* A digest of what a JSON text means, however it is written: white space, the order of members, escapes and
 * the spelling of numbers change nothing; 1, 1.0 and 10e-1 are one number, and so are 0 and -0. Any thread.
 */
#pragma once

#include "hub/base/span.h"

#define JSON_DIGEST_SIZE 16

/* `text` was accepted by json_check(). The digest is the same in every process, on machines of one byte
 * order. It tells texts apart by chance only: whoever wants to can make two with one digest. */
void json_digest(struct span text, unsigned char ret_digest[static JSON_DIGEST_SIZE]);
