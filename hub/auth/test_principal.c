/* SPDX-License-Identifier: MIT */
/* User ids: which are valid, their encoding, and that decoding restores them. */
#include "hub/auth/principal.h"
#include "tests/lib/tap.h"

static void comes_back(const char *user_id, const char *owner)
{
    char inside[OWNER_SIZE] = "";
    ok(owner_encode(span_of(user_id), inside), "legal: %s", user_id);
    is_text(inside, owner, "inside");
    struct buf out CLEANUP(buf_free) = BUF_INIT, want CLEANUP(buf_free) = BUF_INIT;
    buf_append_char(&out, '{');
    owner_json_member(&out, "user_id", span_of(inside));
    buf_append_text(&want, "{\"user_id\":");
    buf_append_json(&want, span_of(user_id));
    char again[USER_ID_MAX + 1];
    owner_decode(span_of(inside), again);
    is_text(again, user_id, "decoded");
    ok(span_equal(buf_span(&out), buf_span(&want)), "and out again: %.*s", SPAN_ARG(buf_span(&out)));
}

static void test_legal(void)
{
    comes_back("user@example.org", "user@example.org");
    comes_back("a.b_c@d+e-f", "a.b_c@d+e-f");
    comes_back("auth0|5f7c8ec7", "auth0%7C5f7c8ec7");
    comes_back("https://idp.example.org/users/7", "https%3A%2F%2Fidp.example.org%2Fusers%2F7");
    comes_back("system:serviceaccount:default:w", "system%3Aserviceaccount%3Adefault%3Aw");
    comes_back("auth0%7C5f7c8ec7", "auth0%257C5f7c8ec7");
    comes_back("{0}:*?[a]\"\\", "%7B0%7D%3A%2A%3F%5Ba%5D%22%5C");
    comes_back("Jos\xc3\xa9", "Jos%C3%A9");
    comes_back("Jose\xcc\x81", "Jose%CC%81"); /* looks the same, but is another user */
    comes_back("\xe5\xb1\xb1\xf0\x9f\x90\x9f ", "%E5%B1%B1%F0%9F%90%9F%20");
    comes_back("\xc2\xa0", "%C2%A0");
}

static void refused(const char *name, struct span user_id)
{
    char inside[OWNER_SIZE];
    ok(!owner_encode(user_id, inside), "refused: %s", name);
}

static void test_refused(void)
{
    refused("empty", SPAN(""));
    refused("NUL", SPAN("a\0b"));
    refused("newline", SPAN("a\nb"));
    refused("DEL", SPAN("a\x7f"));
    refused("U+0080", SPAN("a\xc2\x80"));
    refused("U+009F", SPAN("a\xc2\x9f"));
    refused("U+061C", SPAN("a\xd8\x9c"));
    refused("U+200E", SPAN("a\xe2\x80\x8e"));
    refused("U+202A", SPAN("a\xe2\x80\xaa"));
    refused("U+202E", SPAN("a\xe2\x80\xae"));
    refused("U+2066", SPAN("a\xe2\x81\xa6"));
    refused("U+2069", SPAN("a\xe2\x81\xa9"));
    refused("no UTF-8", SPAN("a\xff"));
    refused("half a character", SPAN("a\xc3"));
    refused("a surrogate", SPAN("\xed\xa0\x80"));
    refused("an overlong form", SPAN("\xc0\xaf"));
}

static void test_longest(void)
{
    char user_id[USER_ID_MAX + 2], owner[OWNER_SIZE];
    memset(user_id, '|', sizeof user_id);
    refused("256 bytes", (struct span){user_id, USER_ID_MAX + 1});
    ok(owner_encode((struct span){user_id, USER_ID_MAX}, owner), "255 bytes");
    is_int((int64_t)strlen(owner), 3 * USER_ID_MAX, "three for each inside");
    struct buf out CLEANUP(buf_free) = BUF_INIT;
    owner_json_member(&out, "owner", span_of(owner));
    is_int((int64_t)out.len, USER_ID_MAX + 11, "and out again");
    ok(owner_of_json(SPAN("\"\\u0061|b\""), owner), "of a JSON string");
    is_text(owner, "a%7Cb", "decoded before");
    ok(!owner_of_json(SPAN("1"), owner) && !owner_of_json(SPAN_NONE, owner), "of no string");
}

int main(void)
{
    test_legal();
    test_refused();
    test_longest();
    return done_testing();
}
