/* SPDX-License-Identifier: MIT */
/* Key rings and key files: what loads, what is refused, which key signs, and many processes at once. */
#include "hub/auth/keyfile.h"
#include "hub/auth/keyring.h"
#include "tests/lib/tap.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOW 1700000000

static unsigned char ed_seed[32] = {7}, ed_public[32], ed_secret[64];

static void append_base64(struct buf *to, const void *data, size_t n)
{
    size_t size = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_bin2base64(buf_reserve(to, size), size, data, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    to->len += size - 1;
}

static void refused_ring(const char *text, const char *want)
{
    char *reason = NULL;
    struct keyring *bad = keyring_parse(span_of(text), &reason);
    ok(bad == NULL && reason && strstr(reason, want), "ring refused: %s", reason ? reason : text);
    free(reason);
    if (bad)
        keyring_free(&bad);
}

static void test_rings(void)
{
    refused_ring("", "neither");
    refused_ring("short", "neither");
    refused_ring("c2hvcnQ", "has 5 bytes");
    refused_ring("my secret passphrase that is long enough", "neither");
    refused_ring("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "neither");
    refused_ring("{\"keys\":[]}", "no key");
    refused_ring("{\"keys\":{}}", "must be a list");
    refused_ring("{\"keys\":[1]}", "key 1: must be an object");
    refused_ring("{\"kty\":\"RSA\",\"n\":\"AA\",\"e\":\"AQAB\"}", "kty must be");
    refused_ring("{\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}", "HS256");
    refused_ring("{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"AAAA\"}", "has 3 bytes");
    refused_ring("{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"A+A/\"}", "base64url");
    refused_ring("{\"kty\":\"oct\",\"alg\":\"HS256\"}", "k must be");
    refused_ring("{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AA\"}", "Ed25519");
    refused_ring("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}", "x must be 32 bytes");
    refused_ring("{\"kty\":\"OKP\",\"kty\":\"oct\"}", "duplicate");
    refused_ring("{\"kty\":\"oct\",\"alg\":\"HS256\",\"kid\":\"\",\"k\":\"AAAA\"}", "kid must be");
    refused_ring("{\"kty\":\"oct\",\"alg\":\"HS256\",\"use\":\"enc\",\"k\":\"AAAA\"}", "use must be");
    refused_ring("text:too short", "has 9 bytes");
    refused_ring("text:", "has 0 bytes");
    refused_ring("text:a secret of a line that is long enough\nand another", "one line");
    refused_ring("base64url:c2hvcnQ", "has 5 bytes");
    refused_ring("base64url:a secret of a line that is long enough", "neither");
    static const char oct[] =
        "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}";
    struct buf twice = BUF_INIT;
    buf_printf(&twice, "{\"keys\":[%s,%s]}", oct, oct);
    char *text = buf_take_string(&twice);
    refused_ring(text, "same kid");
    free(text);
}

static void loads_as(const char *text, const char *secret, bool ambiguous)
{
    char *reason = NULL;
    struct keyring *keys = keyring_parse(span_of(text), &reason);
    if (!ok(keys != NULL, "loads: %s %s", text, reason ? reason : ""))
        return;
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, (const unsigned char *)secret, strlen(secret));
    ok(memcmp(&state, &keys->keys[0].hmac, sizeof state) == 0, "it is the secret %s", secret);
    is_int(keys->ambiguous, ambiguous, "whether it may be meant in another way");
    keyring_free(&keys);
}

static void test_secrets(void)
{
    static const char bytes[] = "0123456789abcdef0123456789abcdef",
                      coded[] = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";
    loads_as("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\n", bytes, false);
    loads_as("base64url:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\n", bytes, false);
    loads_as("text:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", coded, false);
    loads_as("text:with blanks and more than 32 bytes  \r\n", "with blanks and more than 32 bytes  ", false);
    loads_as("text:{\"a text that looks like an object\": 1}\n", "{\"a text that looks like an object\": 1}",
             false);
    loads_as("YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWZnaGlqa2xtbm9w",
             "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop", true);
}

static void test_ambiguous(void)
{
    static const char *const lines[] = {"8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918",
                                        "our-application-secret-of-forty-three-bytes",
                                        "SECRET_OF_THE_BACK_END_THAT_IS_LONG_ENOUGH_X"};
    for (size_t i = 0; i < NELEMS(lines); i++) {
        char *reason = NULL;
        struct keyring *keys = keyring_parse(span_of(lines[i]), &reason);
        ok(keys && keys->ambiguous, "may be text: %s %s", lines[i], reason ? reason : "");
        free(reason);
        if (keys)
            keyring_free(&keys);
    }
}

static void round_trip(const char *name, const char *text, bool can_sign)
{
    char *reason = NULL;
    struct keyring *keys = keyring_parse(span_of(text), &reason);
    const struct auth_claims claims = {.user_id = "demo",
                                       .audience = "taskhub",
                                       .issuer = "me",
                                       .roles = ROLE_ADMIN | ROLE_VIEWER,
                                       .issued_at = NOW,
                                       .expires_at = NOW + 60};
    ok(keys != NULL, "%s: loads", name);
    char *token = keys ? auth_sign(keys, &claims) : NULL;
    is_int(token != NULL, can_sign, "%s: signs", name);
    if (token) {
        const struct auth_rules with = {.audience = "taskhub", .issuer = "me"};
        struct principal who = {0};
        const char *why = "";
        ok(auth_verify(keys, &with, span_of(token), NOW, &who, &why), "%s: verifies its own token %s", name,
           why);
        is_int(who.roles, ROLE_ADMIN | ROLE_VIEWER, "%s: roles", name);
        is_int(who.expires_at, NOW + 60, "%s: expiry", name);
        is_int(who.issued_at, NOW, "%s: issued", name);
        principal_clear(&who);
    }
    free(token);
    free(reason);
    if (keys)
        keyring_free(&keys);
}

static void test_signing(void)
{
    round_trip("one line", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\n", true);
    struct buf text = BUF_INIT;
    buf_append_text(&text, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k\",\"x\":\"");
    append_base64(&text, ed_public, sizeof ed_public);
    size_t half = text.len;
    buf_append_text(&text, "\"}");
    char *public_only = xstrndup(text.data, text.len);
    round_trip("public key", public_only, false);
    free(public_only);
    text.len = half;
    buf_append_text(&text, "\",\"d\":\"");
    append_base64(&text, ed_seed, sizeof ed_seed);
    buf_append_text(&text, "\"}");
    char *pair = buf_take_string(&text);
    round_trip("key pair", pair, true);
    *strstr(pair, "\"d\":\"B") = 'x'; /* spoils the JSON */
    refused_ring(pair, "no JSON object");
    free(pair);
}

/* Ten processes create the key at once: all get the same one. */
static void test_key_file(void)
{
    char dir[] = "/tmp/test-auth-XXXXXX", path[96], data[64];
    if (mkdtemp(dir) == NULL)
        abort();
    snprintf(data, sizeof data, "%s/a/b", dir);
    snprintf(path, sizeof path, "%s/jwt.key", data);
    struct options options = {.data_dir = data, .jwt_key_file = (char[]){""}};
    pid_t pids[10];
    int failed = 0;
    for (size_t i = 0; i < NELEMS(pids); i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            char *reason = NULL;
            struct keyring *keys = keyfile_load(&options, &reason);
            _exit(keys ? 0 : 1);
        }
    }
    for (size_t i = 0; i < NELEMS(pids); i++) {
        int status;
        if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
            failed++;
    }
    is_int(failed, 0, "every process got a ring");
    struct stat st;
    ok(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "the file is private");
    is_int(st.st_size, 44, "32 bytes of base64url and a newline");
    ok(stat(data, &st) == 0 && (st.st_mode & 0777) == 0700, "so is the directory");
    char *reason = NULL;
    struct keyring *keys = keyfile_load(&options, &reason);
    ok(keys != NULL, "and loads again");
    if (keys)
        keyring_free(&keys);
    options.jwt_key_file = (char[]){"/nonexistent/key"};
    ok(keyfile_load(&options, &reason) == NULL && strstr(reason, "/nonexistent/key"),
       "a missing file is named");
    free(reason);
    unlink(path);
    rmdir(data);
    snprintf(data, sizeof data, "%s/a", dir);
    rmdir(data);
    rmdir(dir);
}

int main(void)
{
    if (sodium_init() < 0)
        abort();
    crypto_sign_seed_keypair(ed_public, ed_secret, ed_seed);
    test_rings();
    test_secrets();
    test_ambiguous();
    test_signing();
    test_key_file();
    return done_testing();
}
