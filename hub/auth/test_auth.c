/* SPDX-License-Identifier: MIT */
/* Tokens: what is accepted, and everything that must not be. */
#include "hub/auth/auth.h"
#include "hub/auth/keyring.h"
#include "tests/lib/tap.h"

#define NOW 1700000000

static const char secret[] = "0123456789abcdef0123456789abcdef";
static unsigned char ed_seed[32] = {7}, ed_public[32], ed_secret[64], other_public[32], other_secret[64];
static struct keyring *ring;
static const struct auth_rules rules = {.audience = "taskhub"};

static void append_base64(struct buf *to, const void *data, size_t n)
{
    size_t size = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_bin2base64(buf_reserve(to, size), size, data, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    to->len += size - 1;
}

/* "header.payload" */
static struct buf unsigned_token(const char *header, const char *payload)
{
    struct buf token = BUF_INIT;
    append_base64(&token, header, strlen(header));
    buf_append_char(&token, '.');
    append_base64(&token, payload, strlen(payload));
    return token;
}

static void hmac_with(struct buf *token, const void *key, size_t n)
{
    unsigned char mac[32];
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, key, n);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)token->data, token->len);
    crypto_auth_hmacsha256_final(&state, mac);
    buf_append_char(token, '.');
    append_base64(token, mac, sizeof mac);
}

static char *hs256(const char *header, const char *payload)
{
    struct buf token = unsigned_token(header, payload);
    hmac_with(&token, secret, strlen(secret));
    return buf_take_string(&token);
}

static char *eddsa(const char *header, const char *payload, const unsigned char *key)
{
    unsigned char signature[64];
    struct buf token = unsigned_token(header, payload);
    crypto_sign_detached(signature, NULL, (const unsigned char *)token.data, token.len, key);
    buf_append_char(&token, '.');
    append_base64(&token, signature, sizeof signature);
    return buf_take_string(&token);
}

static const char hs_header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
static const char ed_header[] = "{\"alg\":\"EdDSA\",\"kid\":\"ed-1\"}";
#define CLAIMS(more) "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1700003600" more "}"

static bool verify(struct span token, const struct auth_rules *with, struct principal *who,
                   const char **reason)
{
    return auth_verify(ring, with, token, NOW, who, reason);
}

static void refused_bytes(const char *name, struct span token)
{
    struct principal who = {0};
    const char *reason = NULL;
    bool accepted = verify(token, &rules, &who, &reason);
    ok(!accepted && reason && who.user_id == NULL, "refused: %s (%s)", name, reason ? reason : "accepted");
    principal_clear(&who);
}

static void refused(const char *name, char *token)
{
    refused_bytes(name, span_of(token));
    free(token);
}

static void accepted(const char *name, char *token, const char *user, unsigned roles)
{
    struct principal who = {0};
    const char *reason = "";
    ok(verify(span_of(token), &rules, &who, &reason), "accepted: %s %s", name, reason);
    is_text(who.user_id, user, "its user");
    is_int(who.roles, roles, "its roles");
    principal_clear(&who);
    free(token);
}

static char *jwk_set(void)
{
    struct buf text = BUF_INIT;
    buf_append_text(&text, "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"");
    append_base64(&text, secret, strlen(secret));
    buf_append_text(&text,
                    "\"},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"ed-1\",\"use\":\"sig\",\"x\":\"");
    append_base64(&text, ed_public, sizeof ed_public);
    buf_append_text(&text, "\"}]}");
    return buf_take_string(&text);
}

static void test_accepted(void)
{
    accepted("HS256", hs256(hs_header, CLAIMS("")), "u1", 0);
    accepted("without typ", hs256("{\"alg\":\"HS256\"}", CLAIMS("")), "u1", 0);
    accepted("EdDSA by kid", eddsa(ed_header, CLAIMS(""), ed_secret), "u1", 0);
    accepted("roles", hs256(hs_header, CLAIMS(",\"roles\":[\"admin\",\"editor\",\"viewer\"]")), "u1",
             ROLE_ADMIN | ROLE_VIEWER);
    accepted("roles as words", hs256(hs_header, CLAIMS(",\"roles\":\"viewer  editor admin\"")), "u1",
             ROLE_ADMIN | ROLE_VIEWER);
    accepted("roles as one word", hs256(hs_header, CLAIMS(",\"roles\":\"admin\"")), "u1", ROLE_ADMIN);
    accepted("roles as another's words", hs256(hs_header, CLAIMS(",\"roles\":\"admins,viewer Admin\"")), "u1",
             0);
    accepted("alg by its newer name", eddsa("{\"alg\":\"Ed25519\",\"kid\":\"ed-1\"}", CLAIMS(""), ed_secret),
             "u1", 0);
    accepted("a subject of another's kind",
             hs256(hs_header, "{\"sub\":\"auth0|5f\\u00e9\",\"aud\":\"taskhub\",\"exp\":1700003600}"),
             "auth0%7C5f%C3%A9", 0);
    accepted("audience list",
             hs256(hs_header, "{\"sub\":\"a.b_c@d+e-f\",\"aud\":[\"x\",\"taskhub\"],"
                              "\"exp\":1700003600}"),
             "a.b_c@d+e-f", 0);
    accepted("expired within the skew",
             hs256(hs_header, "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1699999971}"), "u1", 0);
    accepted("fraction of a second",
             hs256(hs_header, "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1700000100.5,\"iat\":1.699e9}"),
             "u1", 0);
    accepted("nbf and iat within the skew",
             hs256(hs_header, CLAIMS(",\"nbf\":1700000030,\"iat\":1700000030")), "u1", 0);
    accepted("unknown claims and jti", hs256(hs_header, CLAIMS(",\"jti\":\"x\",\"nested\":{\"a\":[1]}")),
             "u1", 0);
    accepted("escaped alg is the same word", hs256("{\"alg\":\"HS\\u0032\\u0035\\u0036\"}", CLAIMS("")), "u1",
             0);
}

static void test_types(void)
{
    static const char *const names[] = {
        "jwt", "Jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"};
    for (size_t i = 0; i < NELEMS(names); i++) {
        char header[80];
        snprintf(header, sizeof header, "{\"alg\":\"HS256\",\"typ\":\"%s\"}", names[i]);
        accepted(names[i], hs256(header, CLAIMS("")), "u1", 0);
    }
    refused("another type", hs256("{\"alg\":\"HS256\",\"typ\":\"application/json\"}", CLAIMS("")));
    refused("half a type", hs256("{\"alg\":\"HS256\",\"typ\":\"application/\"}", CLAIMS("")));
    refused("typ of two types", hs256("{\"alg\":\"HS256\",\"typ\":\"JWT,at+jwt\"}", CLAIMS("")));
    refused("typ number", hs256("{\"alg\":\"HS256\",\"typ\":1}", CLAIMS("")));
}

static void test_tasks(void)
{
    struct principal who = {0};
    const char *reason = "";
    char *token = hs256(hs_header, CLAIMS(",\"tasks\":[\"noop\",\"process_text\"]"));
    ok(verify(span_of(token), &rules, &who, &reason), "token with tasks");
    ok(principal_may_submit(&who, "noop") && principal_may_submit(&who, "process_text"), "listed types");
    ok(!principal_may_submit(&who, "noo") && !principal_may_submit(&who, "noop_heavy"), "no other types");
    principal_clear(&who);
    free(token);
    token = hs256(hs_header, CLAIMS(",\"tasks\":[]"));
    ok(verify(span_of(token), &rules, &who, &reason), "empty list");
    ok(!principal_may_submit(&who, "noop"), "allows nothing");
    principal_clear(&who);
    free(token);
    ok(principal_may_submit(&who, "noop"), "no list allows everything");
}

static void test_headers(void)
{
    static const struct {
        const char *name, *header;
    } bad[] = {
        {"alg none", "{\"alg\":\"none\"}"},
        {"alg None", "{\"alg\":\"None\"}"},
        {"alg empty", "{\"alg\":\"\"}"},
        {"alg missing", "{\"typ\":\"JWT\"}"},
        {"alg lower case", "{\"alg\":\"hs256\"}"},
        {"alg HS512", "{\"alg\":\"HS512\"}"},
        {"alg RS256", "{\"alg\":\"RS256\"}"},
        {"alg number", "{\"alg\":256}"},
        {"alg null", "{\"alg\":null}"},
        {"alg list", "{\"alg\":[\"HS256\"]}"},
        {"alg with blank", "{\"alg\":\"HS256 \"}"},
        {"alg twice", "{\"alg\":\"none\",\"alg\":\"HS256\"}"},
        {"alg twice, escaped", "{\"alg\":\"HS256\",\"\\u0061lg\":\"none\"}"},
        {"alg of another key", "{\"alg\":\"EdDSA\"}"},
        {"alg of another key by its newer name", "{\"alg\":\"Ed25519\"}"},
        {"public key as HMAC secret", "{\"alg\":\"HS256\",\"kid\":\"ed-1\"}"},
        {"jku", "{\"alg\":\"HS256\",\"jku\":\"http://127.0.0.1/keys\"}"},
        {"jwk", "{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"}}"},
        {"x5u", "{\"alg\":\"HS256\",\"x5u\":\"http://127.0.0.1/\"}"},
        {"x5c", "{\"alg\":\"HS256\",\"x5c\":[\"AA\"]}"},
        {"crit", "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}"},
        {"b64", "{\"alg\":\"HS256\",\"b64\":false}"},
        {"zip", "{\"alg\":\"HS256\",\"zip\":\"DEF\"}"},
        {"kid path", "{\"alg\":\"HS256\",\"kid\":\"../../../../dev/null\"}"},
        {"kid SQL", "{\"alg\":\"HS256\",\"kid\":\"' OR 1=1 --\"}"},
        {"kid of no key", "{\"alg\":\"HS256\",\"kid\":\"retired\"}"},
        {"kid empty", "{\"alg\":\"HS256\",\"kid\":\"\"}"},
        {"kid number", "{\"alg\":\"HS256\",\"kid\":1}"},
        {"kid null", "{\"alg\":\"HS256\",\"kid\":null}"},
        {"kid of 65 bytes",
         "{\"alg\":\"HS256\",\"kid\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}"},
        {"kid with other case", "{\"alg\":\"EdDSA\",\"kid\":\"ED-1\"}"},
        {"typ of something else", "{\"alg\":\"HS256\",\"typ\":\"secevent+jwt\"}"},
        {"header is a list", "[\"HS256\"]"},
        {"header is text", "\"HS256\""},
        {"header with tail", "{\"alg\":\"HS256\"}x"},
        {"header is empty", ""},
        {"header is too deep", "{\"alg\":\"HS256\",\"a\":[[[[[1]]]]]}"},
        {"header with raw newline", "{\"alg\":\"HS2\n56\"}"},
    };
    for (size_t i = 0; i < NELEMS(bad); i++)
        refused(bad[i].name, hs256(bad[i].header, CLAIMS("")));
    struct buf confused = unsigned_token("{\"alg\":\"HS256\",\"kid\":\"ed-1\"}", CLAIMS(""));
    hmac_with(&confused, ed_public, sizeof ed_public);
    refused("HS256 made with the public key", buf_take_string(&confused));
    refused("EdDSA of another key", eddsa(ed_header, CLAIMS(""), other_secret));
    refused("EdDSA without kid", eddsa("{\"alg\":\"EdDSA\"}", CLAIMS(""), ed_secret));
}

static void test_claims(void)
{
    static const struct {
        const char *name, *claims;
    } bad[] = {
        {"no exp", "{\"sub\":\"u1\",\"aud\":\"taskhub\"}"},
        {"expired", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1699999970}"},
        {"exp text", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":\"1700003600\"}"},
        {"exp null", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":null}"},
        {"exp negative", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":-1}"},
        {"exp 1e400", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1e400}"},
        {"exp in milliseconds", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1700003600000}"},
        {"exp beyond 64 bits", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":99999999999999999999}"},
        {"exp twice", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1700003600,\"exp\":1700003601}"},
        {"not valid yet", CLAIMS(",\"nbf\":1700000031")},
        {"nbf text", CLAIMS(",\"nbf\":\"0\"")},
        {"issued in the future", CLAIMS(",\"iat\":1700000031")},
        {"iat list", CLAIMS(",\"iat\":[1]")},
        {"roles number", CLAIMS(",\"roles\":1")},
        {"roles null", CLAIMS(",\"roles\":null")},
        {"roles object", CLAIMS(",\"roles\":{\"admin\":true}")},
        {"roles nested", CLAIMS(",\"roles\":[[\"admin\"]]")},
        {"tasks text", CLAIMS(",\"tasks\":\"noop\"")},
        {"tasks with newline", CLAIMS(",\"tasks\":[\"a\\nb\"]")},
        {"tasks number", CLAIMS(",\"tasks\":[1]")},
        {"tasks null", CLAIMS(",\"tasks\":null")},
        {"payload list", "[1]"},
        {"payload number", "1"},
        {"payload empty", ""},
        {"payload with tail", CLAIMS("") "{}"},
        {"payload bad UTF-8", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1700003600,\"x\":\"\xff\"}"},
        {"payload with byte order mark", "\xef\xbb\xbf" CLAIMS("")},
        {"payload unfinished", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1700003600"},
    };
    for (size_t i = 0; i < NELEMS(bad); i++)
        refused(bad[i].name, hs256(hs_header, bad[i].claims));
}

static void test_subject_and_audience(void)
{
    static const struct {
        const char *name, *claims;
    } bad[] = {
        {"no aud", "{\"sub\":\"u1\",\"exp\":1700003600}"},
        {"aud other", "{\"sub\":\"u1\",\"aud\":\"taskhub2\",\"exp\":1700003600}"},
        {"aud prefix", "{\"sub\":\"u1\",\"aud\":\"task\",\"exp\":1700003600}"},
        {"aud empty list", "{\"sub\":\"u1\",\"aud\":[],\"exp\":1700003600}"},
        {"aud other list", "{\"sub\":\"u1\",\"aud\":[\"a\",\"b\"],\"exp\":1700003600}"},
        {"aud mixed list", "{\"sub\":\"u1\",\"aud\":[\"taskhub\",1],\"exp\":1700003600}"},
        {"aud nested list", "{\"sub\":\"u1\",\"aud\":[[\"taskhub\"]],\"exp\":1700003600}"},
        {"aud object", "{\"sub\":\"u1\",\"aud\":{\"taskhub\":1},\"exp\":1700003600}"},
        {"no sub", "{\"aud\":\"taskhub\",\"exp\":1700003600}"},
        {"sub empty", "{\"sub\":\"\",\"aud\":\"taskhub\",\"exp\":1700003600}"},
        {"sub number", "{\"sub\":1,\"aud\":\"taskhub\",\"exp\":1700003600}"},
        {"sub with NUL", "{\"sub\":\"u1\\u0000x\",\"aud\":\"taskhub\",\"exp\":1700003600}"},
        {"sub with newline", "{\"sub\":\"u1\\nx\",\"aud\":\"taskhub\",\"exp\":1700003600}"},
        {"sub with C1", "{\"sub\":\"u1\xc2\x85\",\"aud\":\"taskhub\",\"exp\":1700003600}"},
        {"sub that turns", "{\"sub\":\"u1\\u202e\",\"aud\":\"taskhub\",\"exp\":1700003600}"},
        {"sub twice", "{\"sub\":\"u1\",\"sub\":\"u2\",\"aud\":\"taskhub\",\"exp\":1700003600}"},
    };
    for (size_t i = 0; i < NELEMS(bad); i++)
        refused(bad[i].name, hs256(hs_header, bad[i].claims));
    struct buf long_sub = BUF_INIT;
    buf_append_text(&long_sub, "{\"sub\":\"");
    for (int i = 0; i < 256; i++)
        buf_append_char(&long_sub, 'a');
    buf_append_text(&long_sub, "\",\"aud\":\"taskhub\",\"exp\":1700003600}");
    char *claims = buf_take_string(&long_sub);
    refused("sub of 256 bytes", hs256(hs_header, claims));
    free(claims);
}

static void test_issuer(void)
{
    const struct auth_rules with = {.audience = "taskhub", .issuer = "app"};
    struct principal who = {0};
    const char *reason = NULL;
    char *right = hs256(hs_header, CLAIMS(",\"iss\":\"app\"")),
         *wrong = hs256(hs_header, CLAIMS(",\"iss\":\"ap\""));
    char *none = hs256(hs_header, CLAIMS(""));
    ok(verify(span_of(right), &with, &who, &reason), "right issuer");
    principal_clear(&who);
    ok(!verify(span_of(wrong), &with, &who, &reason), "wrong issuer");
    ok(!verify(span_of(none), &with, &who, &reason), "no issuer");
    free(right);
    free(wrong);
    free(none);
}

static void test_max_ttl(void)
{
    const struct auth_rules with = {.audience = "taskhub", .max_ttl_s = 3600};
    static const struct {
        const char *name, *claims;
        bool fits;
    } rows[] = {{"an hour", CLAIMS(""), true},
                {"and the skew", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1700003630}", true},
                {"and a second", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1700003631}", false},
                {"the year 9999", "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":253402300799}", false}};
    for (size_t i = 0; i < NELEMS(rows); i++) {
        struct principal who = {0};
        const char *reason = "";
        char *token = hs256(hs_header, rows[i].claims);
        is_int(verify(span_of(token), &with, &who, &reason), rows[i].fits, "exp ahead by %s %s", rows[i].name,
               reason);
        principal_clear(&who);
        free(token);
    }
}

static void token_id(char *token, char to[static TOKEN_ID_SIZE])
{
    struct principal who = {0};
    const char *reason = "";
    ok(verify(span_of(token), &rules, &who, &reason), "a token %s", reason);
    memcpy(to, who.token_id, TOKEN_ID_SIZE);
    ok(keyring_holds(ring, who.key) && !keyring_holds(ring, who.key + 1), "of a key of the ring");
    principal_clear(&who);
    free(token);
}

static void test_names_of_tokens(void)
{
    char one[TOKEN_ID_SIZE], two[TOKEN_ID_SIZE];
    token_id(hs256(hs_header, CLAIMS(",\"jti\":\"a\"")), one);
    token_id(eddsa(ed_header, CLAIMS(",\"jti\":\"\\u0061\",\"iat\":1"), ed_secret), two);
    is_text(one, two, "tokens of one jti have one name");
    auth_token_id_of_jti(SPAN("a"), two);
    is_text(one, two, "that of the jti");
    token_id(hs256(hs_header, CLAIMS("")), one);
    token_id(hs256(hs_header, CLAIMS("")), two);
    is_text(one, two, "without jti a token has a name of its own");
    token_id(hs256(hs_header, CLAIMS(",\"iat\":1")), two);
    ok(strcmp(one, two) != 0, "another one another");
    token_id(hs256(hs_header, CLAIMS(",\"jti\":7")), two);
    ok(strcmp(one, two) != 0, "a jti that is no text is none");
}

/* `token` with one thing done to its text. */
static void refused_edit(const char *name, size_t at, const char *insert, size_t cut)
{
    char *token = hs256(hs_header, CLAIMS(""));
    struct buf text = BUF_INIT;
    at = at == SIZE_MAX ? strlen(token) : at;
    buf_append(&text, token, at);
    buf_append_text(&text, insert);
    buf_append_text(&text, token + at + cut);
    free(token);
    refused(name, buf_take_string(&text));
}

static void test_form(void)
{
    char *token = hs256(hs_header, CLAIMS(""));
    size_t n = strlen(token), dot = (size_t)(strrchr(token, '.') - token);
    refused_bytes("NUL behind the token", (struct span){token, n + 1});
    refused_bytes("without signature", (struct span){token, dot + 1});
    refused_bytes("without its dot", (struct span){token, dot});
    refused_bytes("empty", (struct span){"", 0});
    refused_bytes("dots only", SPAN(".."));
    refused_bytes("one byte short", (struct span){token, n - 1});
    free(token);
    refused_edit("trailing newline", SIZE_MAX, "\n", 0);
    refused_edit("trailing blank", SIZE_MAX, " ", 0);
    refused_edit("leading blank", 0, " ", 0);
    refused_edit("padding", SIZE_MAX, "=", 0);
    refused_edit("fourth part", SIZE_MAX, ".AAAA", 0);
    refused_edit("blank inside", 5, " ", 0);
    refused_edit("newline inside the signature", dot + 5, "\n", 0);
    refused_edit("plus in the signature", dot + 5, "+", 1);
    refused_edit("slash in the signature", dot + 5, "/", 1);
    refused_edit("Bearer in front", 0, "Bearer ", 0);
    refused_edit("changed payload", 45, "A", 1);

    /* The last character of 32 bytes carries two unused bits. */
    token = hs256(hs_header, CLAIMS(""));
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    token[n - 1] = alphabet[strchr(alphabet, token[n - 1]) - alphabet + 1];
    refused("non-canonical tail", token);
}

/* A token with `n` bytes of a claim that nobody reads. */
static char *with_bulk(size_t n)
{
    struct buf big = BUF_INIT;
    buf_append_text(&big, "{\"sub\":\"u1\",\"aud\":\"taskhub\",\"exp\":1700003600,\"x\":\"");
    memset(buf_reserve(&big, n), 'a', n);
    big.len += n;
    buf_append_text(&big, "\"}");
    char *claims = buf_take_string(&big), *token = hs256(hs_header, claims);
    free(claims);
    return token;
}

static void test_size(void)
{
    accepted("over 4 KiB", with_bulk(4000), "u1", 0);
    size_t n = 12000;
    char *token = with_bulk(n);
    while (strlen(token) < AUTH_TOKEN_MAX) {
        free(token);
        token = with_bulk(++n);
    }
    is_int((int64_t)strlen(token), AUTH_TOKEN_MAX, "the longest");
    accepted("the longest", token, "u1", 0);
    struct principal who = {0};
    const char *reason = "";
    token = with_bulk(n + 1);
    ok(!verify(span_of(token), &rules, &who, &reason), "a longer one");
    is_text(reason, "token is too long", "the reason says so");
    free(token);
}

static void test_single_key(void)
{
    static const char *const kids[] = {"", ",\"kid\":\"main\"", ",\"kid\":\"retired\"",
                                       (",\"kid\":\"urn:ietf:params:oauth:jwk-thumbprint:sha-256:"
                                        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs\"")};
    static const char *const keys[] = {"text:0123456789abcdef0123456789abcdef",
                                       "{\"kty\":\"oct\",\"alg\":\"HS256\",\"kid\":\"main\","
                                       "\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}"};
    struct keyring *before = ring;
    for (size_t i = 0; i < NELEMS(keys) * NELEMS(kids); i++) {
        char header[160], *reason = NULL;
        ring = keyring_parse(span_of(keys[i / NELEMS(kids)]), &reason);
        if (!ok(ring != NULL, "a ring of one key %s", reason ? reason : ""))
            break;
        snprintf(header, sizeof header, "{\"alg\":\"HS256\"%s}", kids[i % NELEMS(kids)]);
        accepted(header, hs256(header, CLAIMS("")), "u1", 0);
        refused("of a single key, by another algorithm", eddsa(ed_header, CLAIMS(""), ed_secret));
        keyring_free(&ring);
    }
    ring = before;
}

/* The group order added to S gives another signature that careless code accepts. */
static void test_malleable(void)
{
    static const unsigned char order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,       0xd6,
                                            0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10};
    char *token = eddsa(ed_header, CLAIMS(""), ed_secret);
    char *dot = strrchr(token, '.');
    unsigned char signature[64];
    ok(base64url_decode(span_of(dot + 1), signature, sizeof signature) == 64, "signature of 64 bytes");
    unsigned carry = 0;
    for (size_t i = 0; i < 32; i++) {
        carry += (unsigned)signature[32 + i] + order[i];
        signature[32 + i] = (unsigned char)carry;
        carry >>= 8;
    }
    struct buf text = BUF_INIT;
    buf_append(&text, token, (size_t)(dot + 1 - token));
    append_base64(&text, signature, sizeof signature);
    free(token);
    refused("S plus the group order", buf_take_string(&text));
}

int main(void)
{
    char *reason = NULL;
    if (sodium_init() < 0)
        abort();
    crypto_sign_seed_keypair(ed_public, ed_secret, ed_seed);
    crypto_sign_keypair(other_public, other_secret);
    char *text = jwk_set();
    ring = keyring_parse(span_of(text), &reason);
    free(text);
    if (!ok(ring != NULL, "the ring loads %s", reason ? reason : ""))
        return done_testing();
    test_accepted();
    test_types();
    test_tasks();
    test_headers();
    test_claims();
    test_subject_and_audience();
    test_issuer();
    test_max_ttl();
    test_names_of_tokens();
    test_form();
    test_size();
    test_single_key();
    test_malleable();
    keyring_free(&ring);
    return done_testing();
}
