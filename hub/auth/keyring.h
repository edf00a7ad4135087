/* SPDX-License-Identifier: MIT */
/* Internals of a key ring, only for keyring.c and auth.c. Lies in locked memory that is read-only once
 * loaded. */
#pragma once

#include "hub/auth/auth.h"

#include <sodium.h>
#include <sys/types.h>

#define KEYRING_MAX 32
#define KID_MAX 64
#define HMAC_SECRET_MIN 32
#define HMAC_SECRET_MAX 512

enum key_algorithm { KEY_HS256, KEY_EDDSA };

struct key {
    char kid[KID_MAX + 1]; /* "" = serves tokens without kid */
    enum key_algorithm algorithm;
    uint64_t id;                       /* a hash of the verifying key: principal.key */
    crypto_auth_hmacsha256_state hmac; /* HS256: the state after the key was mixed in */
    bool can_sign;
    unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
    unsigned char secret_key[crypto_sign_SECRETKEYBYTES]; /* EdDSA with can_sign */
};

struct keyring {
    bool ambiguous; /* a bare line of base64url that does not look like random bytes */
    size_t count;
    struct key keys[KEYRING_MAX];
};

/* Decodes base64url without padding (RFC 4648 §5), strictly: all of `text`, unused bits zero. Returns the
 * bytes written to `to`, -1 if it is none or does not fit. */
ssize_t base64url_decode(struct span text, unsigned char *to, size_t size);
