/* SPDX-License-Identifier: MIT */
/* Bearers of tokens: which are ended when a token or a key is revoked, and which revocations are known. */
#include "hub/auth/bearers.h"
#include "tests/lib/tap.h"

#include <sodium.h>

#define MANY 200

struct holder {
    struct principal who;
    struct bearer bearer;
    char user[16];
    unsigned ended;
};

static struct bearers *bearers;
static struct holder holders[MANY];

static void on_end(struct bearer *bearer, const char *reason)
{
    struct holder *holder = container_of(bearer, struct holder, bearer);
    holder->ended += reason != NULL;
}

static void hold(struct holder *holder, const char *user, const char *jti, uint64_t key)
{
    snprintf(holder->user, sizeof holder->user, "%s", user);
    holder->who = (struct principal){.user_id = holder->user, .key = key, .issued_at = 100};
    auth_token_id_of_jti(span_of(jti), holder->who.token_id);
    holder->bearer.who = &holder->who;
    holder->bearer.end = on_end;
    holder->ended = 0;
    bearers_add(bearers, &holder->bearer);
}

static void drop_all(void)
{
    for (size_t i = 0; i < MANY; i++)
        bearers_leave(bearers, &holders[i].bearer);
}

static size_t count_ended(void)
{
    size_t count = 0;
    for (size_t i = 0; i < MANY; i++)
        count += holders[i].ended;
    return count;
}

static struct keyring *ring_of(const char *line)
{
    char *reason = NULL;
    struct keyring *ring = keyring_parse(span_of(line), &reason);
    if (ring == NULL)
        abort();
    return ring;
}

/* The id of the only key in this ring. */
static uint64_t key_of(const struct keyring *ring)
{
    const struct auth_claims claims = {.user_id = "u", .audience = "a", .issued_at = 1, .expires_at = 9};
    struct principal who = {0};
    const char *reason;
    char *token = auth_sign(ring, &claims);
    if (!auth_verify(ring, &(struct auth_rules){.audience = "a"}, span_of(token), 1, &who, &reason))
        abort();
    uint64_t key = who.key;
    principal_clear(&who);
    free(token);
    return key;
}

static void test_keys(void)
{
    struct keyring *one = ring_of("text:the first secret of the two, long enough");
    struct keyring *two = ring_of("text:the second secret of the two, long enough");
    struct keyring *same = ring_of("base64url:dGhlIGZpcnN0IHNlY3JldCBvZiB0aGUgdHdvLCBsb25nIGVub3VnaA");
    for (size_t i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "u%zu", i % 30);
        hold(&holders[i], name, name, key_of(i % 2 ? one : two));
    }
    bearers_new_keys(bearers, same);
    is_int(count_ended(), MANY / 2, "those of the other key end");
    ok(holders[0].ended == 1 && holders[1].ended == 0, "and no others: the same secret is the same key");
    drop_all();
    drop_all();
    bearers_new_keys(bearers, two);
    is_int(count_ended(), MANY / 2, "who has left is not told");
    keyring_free(&one);
    keyring_free(&two);
    keyring_free(&same);
}

/* ---- revocations ---- */

static bool revoke_token(const char *jti, int64_t until_s)
{
    struct buf entry CLEANUP(buf_free) = BUF_INIT;
    char token_id[TOKEN_ID_SIZE];
    auth_token_id_of_jti(span_of(jti), token_id);
    revocation_of_token(&entry, token_id, until_s);
    return bearers_revoke(bearers, buf_span(&entry));
}

static bool revoke_owner(const char *owner, int64_t before_s)
{
    struct buf entry CLEANUP(buf_free) = BUF_INIT;
    revocation_of_owner(&entry, owner, 1000, before_s);
    return bearers_revoke(bearers, buf_span(&entry));
}

static void test_tokens(void)
{
    for (size_t i = 0; i < MANY; i++) {
        char jti[16];
        snprintf(jti, sizeof jti, "j%zu", i % 50);
        hold(&holders[i], i % 2 ? "odd" : "even", jti, 1);
    }
    ok(revoke_token("j3", 1000) && revoke_token("no such", 1000), "two entries");
    is_int(count_ended(), MANY / 50, "all bearers of the token end");
    ok(holders[3].ended && holders[53].ended && !holders[4].ended, "and no others");
    ok(bearers_revoked(bearers, &holders[3].who) && !bearers_revoked(bearers, &holders[4].who),
       "it is known");
    ok(revoke_token("j3", 500), "again");
    bearers_forget(bearers, 1000);
    ok(bearers_revoked(bearers, &holders[3].who), "kept until the longest has run out");
    bearers_forget(bearers, 1001);
    ok(!bearers_revoked(bearers, &holders[3].who), "and forgotten then");
    drop_all();
}

static void test_owners(void)
{
    static const int64_t issued[] = {0, 99, 100, 101};
    for (size_t i = 0; i < MANY; i++) {
        hold(&holders[i], i < 4 ? "a%7Cb" : i % 2 ? "a" : "b", "j", 1);
        holders[i].who.issued_at = i < 4 ? issued[i] : 0;
    }
    ok(revoke_owner("a%7Cb", 100), "an entry");
    is_int(count_ended(), 2, "tokens that were issued before, and the one that does not say");
    ok(holders[0].ended && holders[1].ended, "those");
    ok(bearers_revoked(bearers, &holders[1].who) && !bearers_revoked(bearers, &holders[2].who), "is known");
    ok(revoke_owner("a%7Cb", 50), "an older one");
    ok(bearers_revoked(bearers, &holders[1].who), "changes nothing");
    ok(revoke_owner("a%7Cb", 101), "a newer one");
    ok(bearers_revoked(bearers, &holders[2].who) && holders[2].ended && !holders[3].ended, "counts");
    drop_all();
}

/* The bearing that represents its ring may leave before the others. */
static void test_leaving(void)
{
    for (size_t i = 0; i < 6; i++)
        hold(&holders[i], "same", "j", 1);
    bearers_leave(bearers, &holders[0].bearer);
    bearers_leave(bearers, &holders[2].bearer);
    bearers_leave(bearers, &holders[1].bearer);
    ok(revoke_owner("same", 500), "an entry");
    is_int(count_ended(), 3, "of six three have left");
    hold(&holders[0], "same", "j", 1);
    ok(revoke_token("j", 500), "one has come back");
    is_int(count_ended(), 7, "all four are told");
    ok(!holders[1].ended && !holders[2].ended, "and nobody who has left");
    drop_all();
    hold(&holders[1], "same", "j", 1);
    ok(revoke_token("j", 500) && holders[1].ended == 1 && holders[3].ended == 2,
       "all have left, a new one comes");
    drop_all();
}

static void test_entries(void)
{
    static const char *const bad[] = {"",        "t",       "t x",       "t x ",
                                      "t x -1",  "t x 1 2", "x y 1",     "u a 1",
                                      "u a 1 b", "t  1",    "u a 1 2 3", "t x 1234567890123456"};
    for (size_t i = 0; i < NELEMS(bad); i++)
        ok(!bearers_revoke(bearers, span_of(bad[i])), "no entry: %s", bad[i]);
    is_int(revocation_until(100, 50), 210, "kept for a minute beyond the longest life");
}

static void test_name_of_text(void)
{
    struct keyring *ring = ring_of("text:the first secret of the two, long enough");
    const struct auth_claims claims = {.user_id = "u", .audience = "a", .issued_at = 1, .expires_at = 9};
    struct principal who = {0};
    char token_id[TOKEN_ID_SIZE];
    int64_t expires_at;
    const char *reason;
    char *token = auth_sign(ring, &claims);
    ok(auth_verify(ring, &(struct auth_rules){.audience = "a"}, span_of(token), 1, &who, &reason), "a token");
    ok(auth_token_id(span_of(token), token_id, &expires_at), "its name, of its text");
    is_text(token_id, who.token_id, "is the same");
    is_int(expires_at, 9, "and its exp");
    ok(!auth_token_id(SPAN("2f1c-a.jti.with-dots"), token_id, &expires_at), "a jti is no token");
    principal_clear(&who);
    free(token);
    keyring_free(&ring);
}

int main(void)
{
    if (sodium_init() < 0)
        abort();
    bearers = bearers_new();
    test_keys();
    test_tokens();
    test_owners();
    test_leaving();
    test_entries();
    test_name_of_text();
    bearers_free(&bearers);
    return done_testing();
}
