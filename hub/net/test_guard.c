/* SPDX-License-Identifier: MIT */
/* hub/net/guard.c: what may upgrade, what may have a body. */
#include "hub/base/mem.h"
#include "hub/net/guard.h"
#include "tests/lib/tap.h"

#define ORIGINS "http://127.0.0.1:8080 http://localhost:8080"

static struct guard_request good(void)
{
    return (struct guard_request){.get = true,
                                  .path = SPAN("/ws"),
                                  .http = SPAN("HTTP/1.1"),
                                  .upgrade = SPAN("websocket"),
                                  .version = SPAN("13"),
                                  .key = SPAN("dGhlIHNhbXBsZSBub25jZQ==")};
}

static void upgrade(struct guard_request request, unsigned status, const char *name)
{
    is_int(guard_upgrade(&request, ORIGINS).status, status, "upgrade: %s", name);
}

/* One good request with a member changed. */
#define CHANGED(member, value, status, name)                                                                 \
    do {                                                                                                     \
        struct guard_request request_ = good();                                                              \
        request_.member = value;                                                                             \
        upgrade(request_, status, name);                                                                     \
    } while (0)

static void test_upgrade(void)
{
    upgrade(good(), 0, "a proper one");
    CHANGED(upgrade, SPAN("WebSocket"), 0, "in other letters");
    CHANGED(upgrade, SPAN("h2c"), 403, "h2c");
    CHANGED(upgrade, SPAN("h2c, WebSocket"), 0, "one of several protocols");
    CHANGED(upgrade, SPAN("h2c, websockets"), 403, "none of several protocols");
    CHANGED(upgrade, SPAN(""), 403, "too long a value");
    CHANGED(get, false, 405, "POST");
    CHANGED(http, SPAN("HTTP/1.0"), 505, "HTTP/1.0");
    CHANGED(path, SPAN("/"), 404, "another path");
    CHANGED(path, SPAN("/ws/"), 404, "nearly the path");
    CHANGED(version, SPAN_NONE, 426, "no version");
    CHANGED(version, SPAN("7"), 426, "version 7");
    CHANGED(version, SPAN("13, 8"), 426, "two versions");
    CHANGED(key, SPAN_NONE, 400, "no key");
    CHANGED(key, SPAN("c2hvcnQ="), 400, "a short key");
    CHANGED(key, SPAN("dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="), 400, "two keys");
    CHANGED(key, SPAN("dGhlIHNhbXBsZSBub25j\r\n=="), 400, "a key that is no base64");
    CHANGED(content_length, SPAN("0"), 0, "an empty body");
    CHANGED(content_length, SPAN("000"), 0, "an empty body in three digits");
    CHANGED(content_length, SPAN("5"), 400, "a body's length");
    CHANGED(content_length, SPAN("0, 0"), 400, "two lengths");
    CHANGED(content_length, SPAN(""), 400, "an empty length");
    CHANGED(transfer_encoding, SPAN("chunked"), 400, "a body's coding");
    CHANGED(origin, SPAN("http://localhost:8080"), 0, "an allowed origin");
    CHANGED(origin, SPAN("http://evil.example"), 403, "a foreign origin");
    CHANGED(origin, SPAN("null"), 403, "the origin null");
    CHANGED(origin, SPAN("http://localhost:8080.evil.example"), 403, "an origin with a suffix");
    CHANGED(origin, SPAN("http://localhost:808"), 403, "a prefix of an origin");
    CHANGED(origin, SPAN(ORIGINS), 403, "the whole list");
    CHANGED(origin, SPAN(""), 403, "an empty origin");
    CHANGED(protocols, SPAN("taskhub.v1"), 0, "our subprotocol");
    CHANGED(protocols, SPAN("other,\ttaskhub.v1 , more"), 0, "ours among others");
    CHANGED(protocols, SPAN("taskhub.v2"), 400, "another subprotocol");
    CHANGED(protocols, SPAN(","), 400, "an empty list");
}

static void test_body(void)
{
    const struct {
        struct span encoding, length, upgrade;
        unsigned status;
    } rows[] = {
        {SPAN_NONE, SPAN_NONE, SPAN_NONE, 0},         {SPAN_NONE, SPAN("0"), SPAN_NONE, 0},
        {SPAN_NONE, SPAN("123456789"), SPAN_NONE, 0}, {SPAN_NONE, SPAN("1234567890"), SPAN_NONE, 400},
        {SPAN_NONE, SPAN("-1"), SPAN_NONE, 400},      {SPAN_NONE, SPAN("4, 5"), SPAN_NONE, 400},
        {SPAN_NONE, SPAN("+4"), SPAN_NONE, 400},      {SPAN_NONE, SPAN("0x10"), SPAN_NONE, 400},
        {SPAN_NONE, SPAN(""), SPAN_NONE, 400},        {SPAN("chunked"), SPAN_NONE, SPAN_NONE, 411},
        {SPAN("chunked"), SPAN("4"), SPAN_NONE, 400}, {SPAN_NONE, SPAN_NONE, SPAN("h2c"), 403},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct guard_request request = {.transfer_encoding = rows[i].encoding,
                                        .content_length = rows[i].length,
                                        .upgrade = rows[i].upgrade};
        is_int(guard_body(&request).status, rows[i].status, "body: row %zu", i);
    }
    ok(!guard_origin(SPAN("http://a"), ""), "an empty list allows nobody");
    ok(guard_origin(SPAN("http://b"), "  http://a   http://b "), "blanks between origins");
}

static void test_host(void)
{
    static const struct {
        const char *host;
        bool allowed;
    } rows[] = {
        {"localhost", true},           {"LocalHost:8080", true},        {"app.example:443", true},
        {"127.0.0.1:8080", true},      {"192.168.1.5", true},           {"[::1]:8080", true},
        {"evil.example", false},       {"evil.example:8080", false},    {"localhost.evil.example", false},
        {"app.example.", false},       {"1.2.3.4.evil.example", false}, {"", false},
        {"[::1].evil.example", false}, {"127.1.evil:80", false}};
    for (size_t i = 0; i < NELEMS(rows); i++)
        is_int(guard_host(span_of(rows[i].host), "localhost app.example"), rows[i].allowed, "host %s",
               rows[i].host);
    ok(guard_host(SPAN_NONE, "localhost"), "no Host: no browser");
    ok(guard_host(SPAN("evil.example"), "*"), "any");
}

static void test_metrics(void)
{
    static const struct {
        const char *authorization, *token;
        bool here;
        unsigned status;
    } rows[] = {
        {NULL, NULL, true, 0},
        {"Bearer secret", NULL, true, 0},
        {NULL, NULL, false, 403},
        {"Bearer ", NULL, false, 403},
        {"Bearer secret", "secret", false, 0},
        {"bearer  secret ", "secret", true, 0},
        {NULL, "secret", false, 401},
        {NULL, "secret", true, 401},
        {"Bearer", "secret", false, 401},
        {"Bearer secre", "secret", false, 401},
        {"Bearer secrets", "secret", false, 401},
        {"Bearer Secret", "secret", true, 401},
        {"Basic secret", "secret", true, 401},
        {"secret", "secret", true, 401},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        struct span given = rows[i].authorization ? span_of(rows[i].authorization) : SPAN_NONE;
        is_int(guard_metrics(given, rows[i].token, rows[i].here).status, rows[i].status,
               "metrics: '%s' where the token is '%s', from %s", rows[i].authorization ? given.p : "",
               rows[i].token ? rows[i].token : "", rows[i].here ? "here" : "elsewhere");
    }
}

int main(void)
{
    test_metrics();
    test_host();
    test_upgrade();
    test_body();
    return done_testing();
}
