/* SPDX-License-Identifier: MIT */
/* Tokens (JWT, HS256 and EdDSA): the keys that check and sign them, and the principal that a valid one
 * yields. A ring of keys is immutable; only loading reads a file. Loop thread. */
#pragma once

#include "hub/auth/principal.h"
#include "hub/base/id.h"
#include "hub/json/json.h"

struct keyring;

/* Makes a ring of the text of a key file: a JSON Web Key Set (RFC 7517: {"keys":[…]}, or one JWK alone; kty
 * oct with alg HS256, kty OKP with crv Ed25519 (RFC 8037), "d" only where the key shall sign), or one line
 * with a secret of 32 to 512 bytes: "text:" and the secret as it is, or "base64url:" and that; base64url
 * without a word in front, too. NULL and *ret_reason (free()) if it is none of them. */
struct keyring *keyring_parse(struct span text, char **ret_reason);
/* Reads the file at `path`; same errors, which name it. Warns of a line that may be meant as text. */
struct keyring *keyring_load(const char *path, char **ret_reason);
/* Wipes the keys; NULL is fine. */
void keyring_free(struct keyring **ring);
/* Whether the ring has the key (principal.key), under any kid. */
bool keyring_holds(const struct keyring *ring, uint64_t key);

struct auth_rules {
    const char *audience; /* must equal "aud" or be in its list */
    const char *issuer;   /* NULL = not checked */
    int64_t max_ttl_s;    /* how far ahead exp may be; 0 = not checked */
};
#define AUTH_SKEW_S 30 /* most seconds by which clocks may differ */
#define AUTH_TOKEN_MAX 16384
#define AUTH_TOKEN_MAX_IN_HEADER 8192 /* of an HTTP request */

/* Verifies a compact JWT at wall time now_s (seconds since 1970). True, and *ret to be cleared by
 * principal_clear(); on any doubt false, *ret untouched, and *ret_reason (static text). About 3 µs
 * (HS256), 50 µs (EdDSA). */
bool auth_verify(const struct keyring *ring, const struct auth_rules *rules, struct span token, int64_t now_s,
                 struct principal *ret, const char **ret_reason) MUSTCHECK;

/* Writes the name of a token, without checking its signature, and its exp (0 = none); false if the text is
 * not a token. */
bool auth_token_id(struct span token, char to[static TOKEN_ID_SIZE], int64_t *ret_expires_at) MUSTCHECK;
/* Writes the name of the tokens with this jti (decoded). */
void auth_token_id_of_jti(struct span jti, char to[static TOKEN_ID_SIZE]);

struct auth_claims {
    const char *user_id, *audience, *issuer; /* user_id in its external form; issuer may be NULL */
    unsigned roles;
    int64_t issued_at, expires_at; /* seconds since 1970 */
};
/* Returns a token (free()) signed by the first key that can, NULL if none can. */
char *auth_sign(const struct keyring *ring, const struct auth_claims *claims);
