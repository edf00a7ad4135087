/* SPDX-License-Identifier: MIT */
/* Tokens. The input is given to auth_verify() as it is; and, so that claims are reached at all, its two
 * halves are signed as header and claims with a key of the ring. */
#include "hub/auth/auth.h"
#include "tests/fuzz/fuzz.h"

#include <sodium.h>

#define NOW INT64_C(1800000000)

static const unsigned char secret[] = "0123456789abcdef0123456789abcdef";
static struct keyring *ring;

static void start(void)
{
    char *reason = NULL;
    if (sodium_init() < 0)
        abort();
    ring = keyring_parse(SPAN("{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":"
                              "\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"},"
                              "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"two\","
                              "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"),
                         &reason);
    if (ring == NULL) {
        fprintf(stderr, "%s\n", reason);
        abort();
    }
}

static void verify(struct span token)
{
    const struct auth_rules rules = {.audience = "taskhub", .issuer = NULL};
    struct principal who = {0};
    const char *reason = NULL;
    if (auth_verify(ring, &rules, token, NOW, &who, &reason)) {
        char user_id[USER_ID_MAX + 1], owner[OWNER_SIZE];
        owner_decode(span_of(who.user_id), user_id);
        HOLDS(owner_encode(span_of(user_id), owner) && strcmp(owner, who.user_id) == 0);
        HOLDS(who.expires_at + AUTH_SKEW_S >= NOW);
        principal_may_submit(&who, "noop");
        principal_clear(&who);
    } else {
        HOLDS(reason != NULL);
    }
}

static void append_base64(struct buf *to, const void *data, size_t size)
{
    size_t room = sodium_base64_encoded_len(size, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    char *at = buf_reserve(to, room);
    sodium_bin2base64(at, room, data, size, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    to->len += strlen(at);
}

static void verify_signed(struct span header, struct span claims)
{
    crypto_auth_hmacsha256_state state;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    struct buf token = BUF_INIT;
    append_base64(&token, header.p, header.n);
    buf_append_char(&token, '.');
    append_base64(&token, claims.p, claims.n);
    crypto_auth_hmacsha256_init(&state, secret, sizeof secret - 1);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)token.data, token.len);
    crypto_auth_hmacsha256_final(&state, mac);
    buf_append_char(&token, '.');
    append_base64(&token, mac, sizeof mac);
    verify(buf_span(&token));
    buf_free(&token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = fuzz_span(data, size), header = SPAN("{\"alg\":\"HS256\"}");
    if (ring == NULL)
        start();
    verify(text);
    const char *newline = memchr(text.p, '\n', text.n);
    if (newline == NULL) {
        verify_signed(header, text);
        return 0;
    }
    header = (struct span){text.p, (size_t)(newline - text.p)};
    verify_signed(header, (struct span){newline + 1, text.n - header.n - 1});
    return 0;
}
