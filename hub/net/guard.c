/* SPDX-License-Identifier: MIT */
/* Checks of upgrade and body headers; see guard.h. Any thread. */
#include "hub/net/guard.h"

#include "hub/net/head.h"

#include <ctype.h>
#include <sodium.h>
#include <strings.h>

#define PROTOCOLS_MAX 126 /* most bytes of the list; a token does not belong there */

static struct guard_verdict refuse(unsigned status, const char *code, const char *detail)
{
    return (struct guard_verdict){status, code, detail};
}

bool guard_origin(struct span origin, const char *origins)
{
    for (struct span rest = span_of(origins); rest.n;) {
        struct span allowed = span_cut(&rest, ' ');
        if (allowed.n && span_equal(origin, allowed))
            return true;
    }
    return false;
}

/* Whether the host is a numeric address, like 127.0.0.1 or [::1], without a port. */
static bool is_address(struct span host)
{
    if (host.n && host.p[0] == '[')
        return host.p[host.n - 1] == ']' && memchr(host.p, ']', host.n) == host.p + host.n - 1;
    size_t digits = 0;
    while (digits < host.n && (isdigit((unsigned char)host.p[digits]) || host.p[digits] == '.'))
        digits++;
    return host.n && digits == host.n;
}

static struct span without_port(struct span host)
{
    size_t n = host.n;
    while (n && isdigit((unsigned char)host.p[n - 1]))
        n--;
    return n && host.p[n - 1] == ':' ? (struct span){host.p, n - 1} : host;
}

bool guard_host(struct span host, const char *hosts)
{
    struct span name = without_port(host);
    if (host.p == NULL || is_address(name))
        return true;
    for (struct span rest = span_of(hosts); rest.n;) {
        struct span allowed = span_cut(&rest, ' ');
        if (span_is(allowed, "*") ||
            (allowed.n && allowed.n == name.n && strncasecmp(allowed.p, name.p, name.n) == 0))
            return true;
    }
    return false;
}

/* Whether the key is 16 bytes in base64: 22 characters and two equals signs. */
static bool key_valid(struct span key)
{
    if (key.n != 24 || key.p[22] != '=' || key.p[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++)
        if (!isalnum((unsigned char)key.p[i]) && key.p[i] != '+' && key.p[i] != '/')
            return false;
    return true;
}

/* Whether a list of offered subprotocols contains GUARD_PROTOCOL. */
static bool offers_protocol(struct span list)
{
    while (list.n)
        if (span_is(head_trim(span_cut(&list, ',')), GUARD_PROTOCOL))
            return true;
    return false;
}

struct span guard_bearer(struct span authorization)
{
    if (authorization.n <= 7 || strncasecmp(authorization.p, "Bearer ", 7) != 0)
        return SPAN_NONE;
    struct span token =
        head_trim(span_from(authorization, 7)); /* spaces before the token: RFC 9110 §11.4, after it: §5.5 */
    return token.n ? token : SPAN_NONE;
}

struct guard_verdict guard_metrics(struct span authorization, const char *token, bool here)
{
    struct span given = guard_bearer(authorization);
    if (token == NULL && !here)
        return refuse(403, "metrics", "/metrics is for this machine alone (option metrics.token_file)");
    if (token && (given.n != strlen(token) || sodium_memcmp(given.p, token, given.n) != 0))
        return refuse(401, "metrics", "/metrics needs the token of the option metrics.token_file");
    return refuse(0, NULL, NULL);
}

/* Whether the length consists of zeros: there is no body. */
static bool is_zero(struct span length)
{
    size_t zeros = 0;
    while (zeros < length.n && length.p[zeros] == '0')
        zeros++;
    return length.n && zeros == length.n;
}

struct guard_verdict guard_upgrade(const struct guard_request *request, const char *origins)
{
    if (!head_lists(request->upgrade, "websocket"))
        return refuse(403, "upgrade", "Only an upgrade to websocket is possible");
    if (!request->get)
        return refuse(405, "method", "A WebSocket begins with GET");
    if (!span_is(request->http, "HTTP/1.1"))
        return refuse(505, "http_version", "A WebSocket needs HTTP/1.1");
    if (!span_is(request->path, "/ws"))
        return refuse(404, "not_found", "The WebSocket is at /ws");
    if (!span_is(request->version, "13"))
        return refuse(426, "websocket_version", "Sec-WebSocket-Version must be 13");
    if (!key_valid(request->key))
        return refuse(400, "websocket_key", "Sec-WebSocket-Key must be 16 bytes in base64");
    if (request->transfer_encoding.p || (request->content_length.p && !is_zero(request->content_length)))
        return refuse(400, "body", "An upgrade has no body");
    if (request->origin.p && !guard_origin(request->origin, origins))
        return refuse(403, "origin", "This Origin is not allowed (option origins)");
    if (request->protocols.n > PROTOCOLS_MAX)
        return refuse(400, "subprotocol",
                      "The list of subprotocols is longer than 126 bytes; offer " GUARD_PROTOCOL " alone");
    if (request->protocols.p && !offers_protocol(request->protocols))
        return refuse(400, "subprotocol", "The subprotocol must be " GUARD_PROTOCOL);
    return refuse(0, NULL, NULL);
}

struct guard_verdict guard_plain(const struct guard_request *request)
{
    if (!span_is(request->path, "/ws"))
        return refuse(404, "not_found", "Not found");
    if (!request->get && !request->head)
        return refuse(405, "method", "Method not allowed");
    return refuse(426, "upgrade",
                  "This is a WebSocket: connect to ws:// or wss://; a proxy in between must pass Upgrade and "
                  "Connection on");
}

struct guard_verdict guard_body(const struct guard_request *request)
{
    if (request->upgrade.p)
        return refuse(403, "upgrade", "Only an upgrade to websocket is possible");
    if (request->transfer_encoding.p && request->content_length.p)
        return refuse(400, "body", "Transfer-Encoding and Content-Length exclude each other");
    if (request->transfer_encoding.p)
        return refuse(411, "body", "A body needs Content-Length; Transfer-Encoding is not taken");
    struct span length = request->content_length;
    if (length.p && (length.n == 0 || length.n > 9))
        return refuse(400, "body", "Content-Length must be 1 to 9 digits");
    for (size_t i = 0; i < length.n; i++)
        if (length.p[i] < '0' || length.p[i] > '9')
            return refuse(400, "body", "Content-Length must be 1 to 9 digits");
    return refuse(0, NULL, NULL);
}
