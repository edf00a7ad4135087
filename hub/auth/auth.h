/* SPDX-License-Identifier: MIT */
/* Tokens: the key ring, signing, verifying (JWT HS256 and EdDSA by libsodium), and the principal a
 * valid token makes. Does no I/O after the ring was loaded. Immutable after loading; loop thread. */
#pragma once

#include "hub/base/id.h"
#include "hub/json/json.h"

#define USER_ID_MAX 128

enum role { ROLE_ADMIN = 1, ROLE_VIEWER = 2 };
#define ROLES 2
extern const char *const role_names[ROLES]; /* the name of 1 << i */

struct principal {
    char user_id[USER_ID_MAX + 1];
    unsigned roles;     /* role bits */
    int64_t expires_at; /* seconds since 1970 */
    int64_t issued_at;  /* seconds since 1970, 0 if the token does not say */
    char *tasks;        /* NULL = any; else '\n'-framed list "\nname\nname\n" of the allowed types */
};
void principal_clear(struct principal *who);
bool principal_may_submit(const struct principal *who, const char *task);

struct keyring;

/* Loads the ring from the text of a key file: either a JSON Web Key Set ({"keys":[…]} or one JWK;
 * kty oct with alg HS256, kty OKP with crv Ed25519, "d" only where the key shall sign), or one line
 * of base64url: a secret of at least 32 bytes. NULL and *ret_reason (free()) if it is neither. */
struct keyring *keyring_parse(struct span text, char **ret_reason);
/* Reads the file; same errors, naming the path. */
struct keyring *keyring_load(const char *path, char **ret_reason);
void keyring_free(struct keyring **ring);

struct auth_rules {
    const char *audience; /* must be or be in "aud" */
    const char *issuer;   /* NULL = not checked */
};
#define AUTH_SKEW_S 30

/* Verifies a compact JWT at wall time now_s. False and a fixed English reason on any doubt; *ret is
 * untouched then. The caller clears *ret with principal_clear(). About 3 us (HS256), 50 us (EdDSA). */
bool auth_verify(const struct keyring *ring, const struct auth_rules *rules, struct span token, int64_t now_s,
                 struct principal *ret, const char **ret_reason) MUSTCHECK;

struct auth_claims {
    const char *user_id, *audience, *issuer; /* issuer may be NULL */
    unsigned roles;
    int64_t issued_at, expires_at;
};
/* A signed token (free()), by the first key able to sign; NULL if there is none. */
char *auth_sign(const struct keyring *ring, const struct auth_claims *claims);
/* Whether `user_id` is a legal owner id: [A-Za-z0-9._@+-]{1,128}. */
bool auth_user_id_valid(struct span user_id);
