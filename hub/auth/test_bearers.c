/* SPDX-License-Identifier: MIT */
/* Bearers of tokens: who is told when a key is taken back. */
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

/* The id of the one key that checks tokens of this ring. */
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

int main(void)
{
    if (sodium_init() < 0)
        abort();
    bearers = bearers_new();
    test_keys();
    bearers_free(&bearers);
    return done_testing();
}
