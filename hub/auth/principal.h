/* SPDX-License-Identifier: MIT */
/* Who somebody is: his roles, what he may submit, and his name. Outside, in tokens, parameters and answers, a
 * user id is any text; inside (Redis, SQL, logs, the programs) an owner is its percent-encoded form, which
 * needs no quoting anywhere. Encoded where one comes in, decoded where text for clients is written: here, and
 * nowhere else. Any thread; no state. */
#pragma once

#include "hub/base/buf.h"

enum role { ROLE_ADMIN = 1, ROLE_VIEWER = 2 };
#define ROLES 2
extern const char *const role_names[ROLES]; /* the name of 1 << i */

/* Names a token: made of its jti, or of all that is signed if it has none. */
#define TOKEN_ID_SIZE 33

struct principal {
    char *user_id;      /* the owner it is; NULL only in an empty one */
    unsigned roles;     /* role bits */
    int64_t expires_at; /* seconds since 1970 */
    int64_t issued_at;  /* seconds since 1970, 0 if the token does not say */
    uint64_t key;       /* which key let it in, for keyring_holds() */
    char token_id[TOKEN_ID_SIZE];
    char *tasks; /* the types it may submit, "\nname\nname\n"; NULL = any */
};
/* Frees what it holds and makes it all zero. */
void principal_clear(struct principal *who);
/* Whether the token allows this type; the type's own role is another question. */
bool principal_may_submit(const struct principal *who, const char *task);

/* ---- names ---- */
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
