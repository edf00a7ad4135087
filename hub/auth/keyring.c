/* SPDX-License-Identifier: MIT */
/* Loads a key ring: JSON Web Keys (RFC 7517, 8037) or one line with a secret; see auth.h. Loop thread.
 * Wipes every buffer that held a secret. */
#include "hub/auth/keyring.h"

#include "hub/base/file.h"
#include "hub/base/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#define KEY_FILE_MAX 65536

ssize_t base64url_decode(struct span text, unsigned char *to, size_t size)
{
    size_t n;
    const char *end;
    if (text.n == 0 || sodium_base642bin(to, size, text.p, text.n, NULL, &n, &end,
                                         sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return -1;
    return end == text.p + text.n ? (ssize_t)n : -1;
}

static bool refuse(char **ret_reason, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool refuse(char **ret_reason, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (vasprintf(ret_reason, fmt, args) < 0)
        abort();
    va_end(args);
    return false;
}

static uint64_t id_of(const unsigned char *bytes, size_t n)
{
    unsigned char hash[crypto_generichash_BYTES_MIN];
    uint64_t id;
    crypto_generichash(hash, sizeof hash, bytes, n, NULL, 0);
    memcpy(&id, hash, sizeof id);
    return id;
}

static bool set_hmac(struct key *key, const unsigned char *secret, size_t n, char **ret_reason)
{
    if (n < HMAC_SECRET_MIN)
        return refuse(ret_reason, "the secret has %zu bytes, at least %d are needed", n, HMAC_SECRET_MIN);
    if (n > HMAC_SECRET_MAX)
        return refuse(ret_reason, "the secret has %zu bytes, at most %d are taken", n, HMAC_SECRET_MAX);
    key->algorithm = KEY_HS256;
    key->can_sign = true;
    crypto_auth_hmacsha256_init(&key->hmac, secret, n);
    key->id = id_of(secret, n);
    return true;
}

/* Decodes a string member holding base64url. */
static ssize_t member_bytes(struct span jwk, const char *name, unsigned char *to, size_t size)
{
    char text[1024];
    struct span value = json_get(jwk, name);
    if (value.p == NULL || !json_string_copy(value, text, sizeof text))
        return -1;
    ssize_t n = base64url_decode(span_of(text), to, size);
    sodium_memzero(text, sizeof text);
    return n;
}

static bool parse_oct(struct span jwk, struct key *key, char **ret_reason)
{
    unsigned char secret[HMAC_SECRET_MAX];
    if (!json_string_is(json_get(jwk, "alg"), "HS256"))
        return refuse(ret_reason, "a key of kty oct needs \"alg\":\"HS256\"");
    ssize_t n = member_bytes(jwk, "k", secret, sizeof secret);
    if (n < 0)
        return refuse(ret_reason, "k must be base64url without padding, at most %d bytes", HMAC_SECRET_MAX);
    bool usable = set_hmac(key, secret, (size_t)n, ret_reason);
    sodium_memzero(secret, sizeof secret);
    return usable;
}

static bool parse_private(struct span jwk, struct key *key, char **ret_reason)
{
    unsigned char seed[crypto_sign_SEEDBYTES], public_key[crypto_sign_PUBLICKEYBYTES];
    ssize_t n = member_bytes(jwk, "d", seed, sizeof seed);
    if (n == sizeof seed)
        crypto_sign_seed_keypair(public_key, key->secret_key, seed);
    sodium_memzero(seed, sizeof seed);
    if (n != sizeof seed)
        return refuse(ret_reason, "d must be 32 bytes of base64url");
    if (sodium_memcmp(public_key, key->public_key, sizeof public_key) != 0)
        return refuse(ret_reason, "d and x do not belong together");
    key->can_sign = true;
    return true;
}

static bool parse_okp(struct span jwk, struct key *key, char **ret_reason)
{
    struct span alg = json_get(jwk, "alg");
    if (!json_string_is(json_get(jwk, "crv"), "Ed25519"))
        return refuse(ret_reason, "a key of kty OKP needs \"crv\":\"Ed25519\"");
    if (alg.p && !json_string_is(alg, "EdDSA") && !json_string_is(alg, "Ed25519"))
        return refuse(ret_reason, "a key of kty OKP has \"alg\":\"EdDSA\", \"Ed25519\" or none");
    key->algorithm = KEY_EDDSA;
    if (member_bytes(jwk, "x", key->public_key, sizeof key->public_key) != sizeof key->public_key)
        return refuse(ret_reason, "x must be 32 bytes of base64url");
    key->id = id_of(key->public_key, sizeof key->public_key);
    return json_get(jwk, "d").p ? parse_private(jwk, key, ret_reason) : true;
}

static bool parse_jwk(struct span jwk, struct key *key, char **ret_reason)
{
    struct span kid = json_get(jwk, "kid"), use = json_get(jwk, "use"), kty = json_get(jwk, "kty");
    if (kid.p && (!json_string_copy(kid, key->kid, sizeof key->kid) || key->kid[0] == '\0'))
        return refuse(ret_reason, "kid must be a string of 1 to %d bytes", KID_MAX);
    if (use.p && !json_string_is(use, "sig"))
        return refuse(ret_reason, "use must be \"sig\"");
    if (json_string_is(kty, "oct"))
        return parse_oct(jwk, key, ret_reason);
    if (json_string_is(kty, "OKP"))
        return parse_okp(jwk, key, ret_reason);
    return refuse(ret_reason, "kty must be oct (HS256) or OKP (Ed25519)");
}

/* Adds one key; the reason names its position in the set. */
static bool add_jwk(struct keyring *ring, struct span jwk, char **ret_reason)
{
    char *reason = NULL;
    struct key *key = &ring->keys[ring->count];
    if (ring->count == KEYRING_MAX)
        return refuse(ret_reason, "more than %d keys", KEYRING_MAX);
    if (json_kind_of(jwk) != KIND_OBJECT || !parse_jwk(jwk, key, &reason)) {
        refuse(ret_reason, "key %zu: %s", ring->count + 1, reason ? reason : "must be an object");
        free(reason);
        return false;
    }
    for (size_t i = 0; i < ring->count; i++)
        if (strcmp(ring->keys[i].kid, key->kid) == 0)
            return refuse(ret_reason, "keys %zu and %zu have the same kid", i + 1, ring->count + 1);
    ring->count++;
    return true;
}

static bool parse_json(struct keyring *ring, struct span text, char **ret_reason)
{
    const char *why;
    struct span element;
    if (json_check(text, JSON_LIMITS, &why) != KIND_OBJECT)
        return refuse(ret_reason, "no JSON object: %s", why);
    struct span keys = json_get(text, "keys");
    if (keys.p == NULL)
        return add_jwk(ring, text, ret_reason);
    if (json_kind_of(keys) != KIND_ARRAY)
        return refuse(ret_reason, "keys must be a list");
    struct json_iter iter = json_walk(keys);
    while (json_next_element(&iter, &element))
        if (!add_jwk(ring, element, ret_reason))
            return false;
    return ring->count ? true : refuse(ret_reason, "the set holds no key");
}

static bool parse_base64url(struct keyring *ring, struct span text, char **ret_reason)
{
    unsigned char secret[HMAC_SECRET_MAX];
    ssize_t n = base64url_decode(text, secret, sizeof secret);
    if (n < 0)
        return refuse(ret_reason,
                      "neither a JSON Web Key Set nor one line of base64url without padding, at "
                      "most %d bytes; in front of a secret that is text write text:",
                      HMAC_SECRET_MAX);
    ring->count = 1;
    bool usable = set_hmac(&ring->keys[0], secret, (size_t)n, ret_reason);
    sodium_memzero(secret, sizeof secret);
    return usable;
}

static bool parse_text(struct keyring *ring, struct span text, char **ret_reason)
{
    if (text.n && text.p[text.n - 1] == '\n')
        text.n--;
    if (text.n && text.p[text.n - 1] == '\r')
        text.n--;
    if (memchr(text.p, '\n', text.n))
        return refuse(ret_reason, "text: takes one line");
    ring->count = 1;
    return set_hmac(&ring->keys[0], (const unsigned char *)text.p, text.n, ret_reason);
}

/* Whether a line of base64url looks like the 32 random bytes that most keys are: 43 characters, not all of
 * one case, as hexadecimal digits and pass phrases are. */
static bool looks_random(struct span line)
{
    bool upper = false, lower = false;
    for (size_t i = 0; i < line.n; i++) {
        upper = upper || isupper((unsigned char)line.p[i]);
        lower = lower || islower((unsigned char)line.p[i]);
    }
    return line.n == 43 && upper && lower;
}

/* `end`: end of the file; trailing blanks belong to a "text:" secret. */
static bool parse_line(struct keyring *ring, struct span line, const char *end, char **ret_reason)
{
    struct span all = {line.p, (size_t)(end - line.p)};
    if (span_begins(line, "text:"))
        return parse_text(ring, span_from(all, strlen("text:")), ret_reason);
    if (span_begins(line, "base64url:"))
        return parse_base64url(ring, span_from(line, strlen("base64url:")), ret_reason);
    ring->ambiguous = !looks_random(line);
    return parse_base64url(ring, line, ret_reason);
}

struct keyring *keyring_parse(struct span text, char **ret_reason)
{
    struct keyring *ring = sodium_malloc(sizeof *ring);
    if (ring == NULL) {
        refuse(ret_reason, "no memory for keys");
        return NULL;
    }
    memset(ring, 0, sizeof *ring);
    const char *end = text.p + text.n;
    text = json_trim(text);
    bool json = text.n && text.p[0] == '{';
    if (!(json ? parse_json(ring, text, ret_reason) : parse_line(ring, text, end, ret_reason))) {
        sodium_free(ring);
        return NULL;
    }
    sodium_mprotect_readonly(ring);
    return ring;
}

bool keyring_holds(const struct keyring *ring, uint64_t key)
{
    for (size_t i = 0; i < ring->count; i++)
        if (ring->keys[i].id == key)
            return true;
    return false;
}

void keyring_free(struct keyring **ring)
{
    sodium_free(*ring);
    *ring = NULL;
}

struct keyring *keyring_load(const char *path, char **ret_reason)
{
    char *text = sodium_malloc(KEY_FILE_MAX), *reason = NULL;
    struct keyring *ring = NULL;
    struct stat st;
    ssize_t n = text ? file_read(path, text, KEY_FILE_MAX) : -1;
    if (n < 0)
        reason = xstrdup(strerror(errno));
    else
        ring = keyring_parse((struct span){text, (size_t)n}, &reason);
    sodium_free(text);
    if (ring == NULL)
        refuse(ret_reason, "key file %s: %s", path, reason);
    else if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & (S_IRWXG | S_IRWXO))
        log_warn("key file can be read by others", "path", path);
    if (ring && ring->ambiguous)
        log_warn("the key file's line is read as base64url; write base64url: in front of it, or text: if the "
                 "secret is the text itself",
                 "path", path);
    free(reason);
    return ring;
}
