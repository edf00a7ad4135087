/* SPDX-License-Identifier: MIT */
/* An authenticated user: roles, permitted task types, name. Outside, in tokens, parameters and answers, a
 * user id is any text; inside (Redis, SQL, logs, the programs) an owner is its percent-encoded form, which
 * needs no quoting anywhere. Encoded where one comes in, decoded where text for clients is written: only
 * here. Any thread; no state. */
#pragma once

#include "hub/base/buf.h"

enum role { ROLE_ADMIN = 1, ROLE_VIEWER = 2 };
#define ROLES 2
extern const char *const role_names[ROLES]; /* the name of 1 << i */

/* Names a token: derived from its jti, or from its signed part if it has none. */
#define TOKEN_ID_SIZE 33

struct principal {
    char *user_id;      /* the owner; NULL only in an empty principal */
    unsigned roles;     /* role bits */
    int64_t expires_at; /* seconds since 1970 */
    int64_t issued_at;  /* seconds since 1970, 0 if the token does not say */
    uint64_t key;       /* the key that verified the token, for keyring_holds() */
    char token_id[TOKEN_ID_SIZE];
    char *tasks; /* the permitted task types, "\nname\nname\n"; NULL = any */
};
/* Frees its members and makes it all zero. */
void principal_clear(struct principal *who);
/* Whether the token permits this type; the role the type demands is checked elsewhere. */
bool principal_may_submit(const struct principal *who, const char *task);

/* ---- names ---- */
#define USER_ID_MAX 255                  /* bytes in external form */
#define OWNER_SIZE (3 * USER_ID_MAX + 1) /* internal form, with the NUL */

/* Writes the owner of this user id: all bytes except [A-Za-z0-9._@+-] become %XX. False if it is not a
 * legal user id: UTF-8 of 1 to USER_ID_MAX bytes without control characters (U+0000–001F, 007F–009F) and
 * without those that change the direction of text. Byte by byte: nothing is normalised. */
bool owner_encode(struct span user_id, char to[static OWNER_SIZE]) MUSTCHECK;
/* The same for a JSON string. False also if it is not a string. */
bool owner_of_json(struct span value, char to[static OWNER_SIZE]) MUSTCHECK;
/* Writes the user id of an owner, cut where it is malformed. */
void owner_decode(struct span owner, char to[static USER_ID_MAX + 1]);
/* Writes the member `name` of a JSON object: the user id of this owner. */
void owner_json_member(struct buf *to, const char *name, struct span owner);
