/* SPDX-License-Identifier: MIT */
/* Names of owners. Outside, in tokens, parameters and answers, a user id is any text; inside (Redis, SQL,
 * logs, the programs) an owner is its percent-encoded form, which needs no quoting anywhere. Encoded where
 * one comes in, decoded where text for clients is written: here, and nowhere else. Any thread; no state. */
#pragma once

#include "hub/base/buf.h"

#define USER_ID_MAX 255                  /* bytes outside */
#define OWNER_SIZE (3 * USER_ID_MAX + 1) /* inside, with the NUL */

/* Writes the owner of this user id: all bytes but [A-Za-z0-9._@+-] become %XX. False if it is no legal user
 * id: UTF-8 of 1 to USER_ID_MAX bytes without control characters (U+0000–001F, 007F–009F) and those that turn
 * the direction of text. Byte by byte: nothing is normalised. */
bool owner_encode(struct span user_id, char to[static OWNER_SIZE]) MUSTCHECK;
/* The same for a JSON string. False if it is none. */
bool owner_of_json(struct span value, char to[static OWNER_SIZE]) MUSTCHECK;
/* Writes the user id of an owner, cut where it is none. */
void owner_decode(struct span owner, char to[static USER_ID_MAX + 1]);
/* The member `name` of a JSON object: the user id of this owner. */
void owner_json_member(struct buf *to, const char *name, struct span owner);
