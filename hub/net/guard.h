/* SPDX-License-Identifier: MIT */
/* What a request must look like before it is acted on: an upgrade (version, key, Origin, subprotocol), and
 * what says how long a body is. Pure functions, any thread. */
#pragma once

#include "hub/base/span.h"

struct guard_request {      /* header values as received; SPAN_NONE = no such header */
    bool get, head;         /* the method */
    struct span path, http; /* "/ws", "HTTP/1.1" */
    struct span host;
    struct span upgrade, version, key, origin, protocols;
    struct span transfer_encoding, content_length;
};

struct guard_verdict {
    unsigned status;    /* HTTP status; 0 = accepted */
    const char *code;   /* stable word, as in docs/protocol.md */
    const char *detail; /* English */
};

#define GUARD_PROTOCOL "taskhub.v1"

/* Checks a request to upgrade to WebSocket (RFC 6455 §4.2.1). `origins`: the allowed ones, separated by
 * spaces. */
struct guard_verdict guard_upgrade(const struct guard_request *request, const char *origins);
/* Returns why a request without an upgrade, for a path without an answer, is refused. */
struct guard_verdict guard_plain(const struct guard_request *request);
/* Checks the headers of any other request that define the length of its body (RFC 9112 §6). */
struct guard_verdict guard_body(const struct guard_request *request);
/* Whether a request with this Host header (SPAN_NONE is fine) may be answered: it is a numeric address, which
 * DNS rebinding cannot use, or one of the names in `hosts`, separated by spaces; * = any. */
bool guard_host(struct span host, const char *hosts);
/* The token of an Authorization header "Bearer TOKEN" (RFC 6750 §2.1); SPAN_NONE for any other value. */
struct span guard_bearer(struct span authorization);
/* Checks a request for /metrics. Accepts whoever has `token`; if that is NULL (not configured), whoever asks
 * from this machine without a proxy in between (`here`). */
struct guard_verdict guard_metrics(struct span authorization, const char *token, bool here);
/* Whether `origin` is one of the words in `origins`. */
bool guard_origin(struct span origin, const char *origins);
