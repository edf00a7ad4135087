/* SPDX-License-Identifier: MIT */
/* Verifies and signs JSON Web Tokens (RFC 7515, 7519, 8037) with libsodium; see auth.h. Loop thread. As
 * RFC 8725 demands, the key decides the algorithm, never the token, and claims are read only after the
 * signature was verified. */
#include "hub/auth/auth.h"

#include "hub/auth/keyring.h"

#include <ctype.h>
#include <strings.h>

#define HEADER_MAX 1024
#define TIME_MAX 253402300799 /* 9999-12-31: anything above is not in seconds */

static const struct json_limits token_limits = {4, 64};

/* ---- the three parts ---------------------------------------------------------------------------- */

struct token {
    struct span header, payload, signature; /* base64url */
    struct span signed_part;                /* "header.payload" */
};

static bool split(struct span text, struct token *token)
{
    struct span rest = text;
    token->header = span_cut(&rest, '.');
    token->payload = span_cut(&rest, '.');
    token->signature = rest; /* another '.' fails as base64 */
    token->signed_part = (struct span){text.p, token->header.n + 1 + token->payload.n};
    return rest.p != NULL;
}

/* Decodes a part and checks that it is a JSON object. */
static bool decode_object(struct span part, unsigned char *to, size_t size, struct span *ret)
{
    const char *why;
    ssize_t n = base64url_decode(part, to, size);
    *ret = (struct span){(const char *)to, n < 0 ? 0 : (size_t)n};
    return n > 0 && json_check(*ret, token_limits, &why) == KIND_OBJECT;
}

/* ---- header and signature ------------------------------------------------------------------------ */

struct header {
    struct span alg, kid; /* JSON strings; SPAN_NONE if there is none */
};

/* Members that choose the key or change what is signed: refused, since ignoring them would be wrong, too. */
static bool is_forbidden(struct span name)
{
    static const char *const names[] = {"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"};
    for (size_t i = 0; i < NELEMS(names); i++)
        if (json_key_is(name, names[i]))
            return true;
    return false;
}

/* Media types are compared without case and may leave out "application/" (RFC 7515 §4.1.9). */
static bool is_our_type(struct span value)
{
    char text[32];
    if (!json_string_copy(value, text, sizeof text))
        return false;
    size_t skip = strlen("application/");
    const char *type = strncasecmp(text, "application/", skip) == 0 ? text + skip : text;
    return strcasecmp(type, "JWT") == 0 || strcasecmp(type, "at+jwt") == 0;
}

static const char *read_header(struct span object, struct header *header)
{
    struct json_iter iter = json_walk(object);
    struct span name, value;
    *header = (struct header){0};
    while (json_next_member(&iter, &name, &value)) {
        if (is_forbidden(name))
            return "token header holds a member that is not allowed";
        if (json_key_is(name, "alg"))
            header->alg = value;
        if (json_key_is(name, "typ") && !is_our_type(value))
            return "token is of another type";
        if (!json_key_is(name, "kid"))
            continue;
        if (json_kind_of(value) != KIND_STRING || json_string_is(value, ""))
            return "kid is malformed";
        header->kid = value;
    }
    return header->alg.p ? NULL : "alg is missing";
}

/* The key with this kid; a single key serves any kid. */
static const struct key *find_key(const struct keyring *ring, struct span kid)
{
    if (ring->count == 1)
        return &ring->keys[0];
    for (size_t i = 0; i < ring->count; i++) {
        const char *own = ring->keys[i].kid;
        if (kid.p ? json_string_is(kid, own) : own[0] == '\0')
            return &ring->keys[i];
    }
    return NULL;
}

/* The algorithm names tokens are signed with, and their newer names (RFC 9864). */
static const struct {
    const char *name, *alias;
} algorithms[] = {[KEY_HS256] = {"HS256", "HS256"}, [KEY_EDDSA] = {"EdDSA", "Ed25519"}};

static bool names_algorithm(struct span alg, enum key_algorithm of)
{
    return json_string_is(alg, algorithms[of].name) || json_string_is(alg, algorithms[of].alias);
}

static void make_hmac(const struct key *key, const unsigned char *text, size_t n, unsigned char *ret)
{
    crypto_auth_hmacsha256_state state = key->hmac;
    crypto_auth_hmacsha256_update(&state, text, n);
    crypto_auth_hmacsha256_final(&state, ret);
    sodium_memzero(&state, sizeof state);
}

static bool signature_holds(const struct key *key, struct span text, struct span signature)
{
    unsigned char given[crypto_sign_BYTES], made[crypto_auth_hmacsha256_BYTES];
    ssize_t n = base64url_decode(signature, given, sizeof given);
    const unsigned char *bytes = (const unsigned char *)text.p;
    if (key->algorithm == KEY_EDDSA)
        return n == crypto_sign_BYTES &&
               crypto_sign_verify_detached(given, bytes, text.n, key->public_key) == 0;
    if (n != sizeof made)
        return false;
    make_hmac(key, bytes, text.n, made);
    return sodium_memcmp(made, given, sizeof made) == 0;
}

static const char *check_signature(const struct keyring *ring, const struct token *token, uint64_t *ret_key)
{
    unsigned char text[HEADER_MAX];
    struct span object;
    struct header header;
    if (!decode_object(token->header, text, sizeof text, &object))
        return "token header is malformed";
    const char *reason = read_header(object, &header);
    if (reason)
        return reason;
    const struct key *key = find_key(ring, header.kid);
    if (key == NULL)
        return "no key for this kid";
    if (!names_algorithm(header.alg, key->algorithm))
        return "alg is not that of the key";
    *ret_key = key->id;
    return signature_holds(key, token->signed_part, token->signature) ? NULL : "signature does not match";
}

/* ---- claims ------------------------------------------------------------------------------------- */

/* Reads a NumericDate in seconds, truncated. False if it is not a number or lies beyond the year 9999. */
static bool read_time(struct span value, int64_t *ret)
{
    double seconds;
    if (!json_double(value, &seconds) || seconds < 0 || seconds > (double)TIME_MAX)
        return false;
    *ret = (int64_t)seconds;
    return true;
}

static const char *read_times(struct span claims, const struct auth_rules *rules, int64_t now_s,
                              struct principal *who)
{
    struct span exp = json_get(claims, "exp"), nbf = json_get(claims, "nbf"), iat = json_get(claims, "iat");
    int64_t not_before;
    if (exp.p == NULL)
        return "exp is missing";
    if (!read_time(exp, &who->expires_at))
        return "exp is no time in seconds";
    if (now_s >= who->expires_at + AUTH_SKEW_S)
        return "token has expired";
    if (rules->max_ttl_s && who->expires_at > now_s + rules->max_ttl_s + AUTH_SKEW_S)
        return "exp is too far ahead (auth.max_ttl)";
    if (nbf.p && !read_time(nbf, &not_before))
        return "nbf is no time in seconds";
    if (nbf.p && now_s + AUTH_SKEW_S < not_before)
        return "token is not valid yet";
    if (iat.p && !read_time(iat, &who->issued_at))
        return "iat is no time in seconds";
    if (iat.p && now_s + AUTH_SKEW_S < who->issued_at)
        return "token was issued in the future";
    return NULL;
}

/* Whether `value` is the string `want` or a list of strings that contains it. */
static bool names_audience(struct span value, const char *want)
{
    struct span element;
    bool found = false;
    if (value.p == NULL || json_kind_of(value) != KIND_ARRAY)
        return value.p && json_string_is(value, want);
    struct json_iter iter = json_walk(value);
    while (json_next_element(&iter, &element)) {
        if (json_kind_of(element) != KIND_STRING)
            return false;
        found = found || json_string_is(element, want);
    }
    return found;
}

static const char *read_subject(struct span claims, struct principal *who)
{
    struct span sub = json_get(claims, "sub");
    char owner[OWNER_SIZE];
    if (sub.p == NULL)
        return "sub is missing";
    if (!owner_of_json(sub, owner))
        return "sub is no user id";
    who->user_id = xstrdup(owner);
    return NULL;
}

static unsigned role_of(struct span word)
{
    for (unsigned i = 0; i < ROLES; i++)
        if (span_is(word, role_names[i]))
            return 1u << i;
    return 0; /* a role of another program */
}

/* Reads roles from one string of words separated by spaces. */
static void read_role_words(struct span value, struct principal *who)
{
    struct buf text CLEANUP(buf_free) = BUF_INIT;
    json_string_append(&text, value);
    struct span rest = buf_span(&text);
    while (rest.p)
        who->roles |= role_of(span_cut(&rest, ' '));
}

static const char *read_roles(struct span claims, struct principal *who)
{
    struct span roles = json_get(claims, "roles"), role;
    if (roles.p == NULL)
        return NULL;
    if (json_kind_of(roles) == KIND_STRING) {
        read_role_words(roles, who);
        return NULL;
    }
    if (json_kind_of(roles) != KIND_ARRAY)
        return "roles is neither a list nor words";
    struct json_iter iter = json_walk(roles);
    while (json_next_element(&iter, &role)) {
        if (json_kind_of(role) != KIND_STRING)
            return "roles holds something else than words";
        for (unsigned i = 0; i < ROLES; i++)
            who->roles |= json_string_is(role, role_names[i]) ? 1u << i : 0;
    }
    return NULL;
}

static bool is_task_name(const char *name)
{
    for (const char *p = name; *p; p++)
        if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '_' && *p != '.')
            return false;
    return *name != '\0';
}

static const char *read_tasks(struct span claims, struct principal *who)
{
    struct span tasks = json_get(claims, "tasks"), task;
    char name[65];
    if (tasks.p == NULL)
        return NULL;
    if (json_kind_of(tasks) != KIND_ARRAY)
        return "tasks is no list";
    struct buf list CLEANUP(buf_free) = BUF_INIT;
    buf_append_char(&list, '\n');
    struct json_iter iter = json_walk(tasks);
    while (json_next_element(&iter, &task)) {
        if (!json_string_copy(task, name, sizeof name) || !is_task_name(name))
            return "tasks holds something else than task names";
        buf_printf(&list, "%s\n", name);
    }
    who->tasks = buf_take_string(&list);
    return NULL;
}

/* ---- the token's own name ------------------------------------------------------------------------- */

static void hash_name(char kind, struct span text, char to[static TOKEN_ID_SIZE])
{
    unsigned char hash[TOKEN_ID_SIZE / 2];
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, (const unsigned char *)&kind, 1);
    crypto_generichash_update(&state, (const unsigned char *)text.p, text.n);
    crypto_generichash_final(&state, hash, sizeof hash);
    sodium_bin2hex(to, TOKEN_ID_SIZE, hash, sizeof hash);
}

void auth_token_id_of_jti(struct span jti, char to[static TOKEN_ID_SIZE])
{
    hash_name('j', jti, to);
}

/* Names a token without jti by its signed part, since one signature can be encoded in several ways. */
static void name_token(struct span claims, struct span signed_part, char to[static TOKEN_ID_SIZE])
{
    struct buf jti CLEANUP(buf_free) = BUF_INIT;
    struct span value = json_get(claims, "jti");
    if (value.p == NULL || json_kind_of(value) != KIND_STRING) {
        hash_name('t', signed_part, to);
        return;
    }
    json_string_append(&jti, value);
    hash_name('j', buf_span(&jti), to);
}

static const char *read_claims(struct span claims, struct span signed_part, const struct auth_rules *rules,
                               int64_t now_s, struct principal *who)
{
    const char *reason = read_times(claims, rules, now_s, who);
    if (reason)
        return reason;
    if (!names_audience(json_get(claims, "aud"), rules->audience))
        return "aud is missing or names somebody else";
    if (rules->issuer) {
        struct span iss = json_get(claims, "iss");
        if (iss.p == NULL || !json_string_is(iss, rules->issuer))
            return "iss is missing or names somebody else";
    }
    name_token(claims, signed_part, who->token_id);
    reason = read_subject(claims, who);
    if (reason == NULL)
        reason = read_roles(claims, who);
    return reason ? reason : read_tasks(claims, who);
}

bool auth_verify(const struct keyring *ring, const struct auth_rules *rules, struct span token, int64_t now_s,
                 struct principal *ret, const char **ret_reason)
{
    unsigned char text[AUTH_TOKEN_MAX];
    struct token parts;
    struct span claims;
    struct principal who = {0};
    const char *reason = token.n > AUTH_TOKEN_MAX ? "token is too long"
                         : !split(token, &parts)  ? "token is malformed"
                                                  : check_signature(ring, &parts, &who.key);
    if (reason == NULL && !decode_object(parts.payload, text, sizeof text, &claims))
        reason = "token payload is malformed";
    if (reason == NULL)
        reason = read_claims(claims, parts.signed_part, rules, now_s, &who);
    if (reason) {
        principal_clear(&who);
        *ret_reason = reason;
        return false;
    }
    *ret = who;
    return true;
}

bool auth_token_id(struct span token, char to[static TOKEN_ID_SIZE], int64_t *ret_expires_at)
{
    unsigned char text[AUTH_TOKEN_MAX];
    struct token parts;
    struct span object;
    *ret_expires_at = 0;
    if (token.n > AUTH_TOKEN_MAX || !split(token, &parts) ||
        !decode_object(parts.header, text, sizeof text, &object) ||
        !decode_object(parts.payload, text, sizeof text, &object))
        return false;
    struct span exp = json_get(object, "exp");
    if (exp.p && !read_time(exp, ret_expires_at))
        return false;
    name_token(object, parts.signed_part, to);
    return true;
}

/* ---- signing ------------------------------------------------------------------------------------- */

static void append_base64url(struct buf *to, const void *data, size_t n)
{
    size_t size = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_bin2base64(buf_reserve(to, size), size, data, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    to->len += size - 1;
}

static void append_member(struct buf *to, const char *name, const char *value)
{
    buf_printf(to, "%s\"%s\":", to->len > 1 ? "," : "", name);
    buf_append_json(to, span_of(value));
}

static void append_header(struct buf *to, const struct key *key)
{
    struct buf json CLEANUP(buf_free) = BUF_INIT;
    buf_append_char(&json, '{');
    append_member(&json, "alg", algorithms[key->algorithm].name);
    append_member(&json, "typ", "JWT");
    if (key->kid[0])
        append_member(&json, "kid", key->kid);
    buf_append_char(&json, '}');
    append_base64url(to, json.data, json.len);
}

static void append_claims(struct buf *to, const struct auth_claims *claims)
{
    struct buf json CLEANUP(buf_free) = BUF_INIT;
    buf_append_char(&json, '{');
    append_member(&json, "sub", claims->user_id);
    append_member(&json, "aud", claims->audience);
    if (claims->issuer)
        append_member(&json, "iss", claims->issuer);
    buf_printf(&json, ",\"iat\":%lld,\"exp\":%lld,\"roles\":[", (long long)claims->issued_at,
               (long long)claims->expires_at);
    const char *separator = "";
    for (unsigned i = 0; i < ROLES; i++) {
        if ((claims->roles & 1u << i) == 0)
            continue;
        buf_printf(&json, "%s\"%s\"", separator, role_names[i]);
        separator = ",";
    }
    buf_append_text(&json, "]}");
    append_base64url(to, json.data, json.len);
}

static void append_signature(struct buf *to, const struct key *key)
{
    unsigned char signature[crypto_sign_BYTES];
    const unsigned char *text = (const unsigned char *)to->data;
    size_t n = crypto_auth_hmacsha256_BYTES;
    if (key->algorithm == KEY_EDDSA) {
        n = crypto_sign_BYTES;
        crypto_sign_detached(signature, NULL, text, to->len, key->secret_key);
    } else {
        make_hmac(key, text, to->len, signature);
    }
    buf_append_char(to, '.');
    append_base64url(to, signature, n);
}

char *auth_sign(const struct keyring *ring, const struct auth_claims *claims)
{
    struct buf token = BUF_INIT;
    for (size_t i = 0; i < ring->count; i++) {
        if (!ring->keys[i].can_sign)
            continue;
        append_header(&token, &ring->keys[i]);
        buf_append_char(&token, '.');
        append_claims(&token, claims);
        append_signature(&token, &ring->keys[i]);
        return buf_take_string(&token);
    }
    return NULL;
}
