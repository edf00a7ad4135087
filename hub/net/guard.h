/* SPDX-License-Identifier: MIT */
/* What a request must look like before libwebsockets may act on it: the library upgrades almost anything
 * (wrong version, POST, any Origin, h2c) and takes any Content-Length. Pure functions, any thread. */
#pragma once

#include "hub/base/span.h"

struct guard_request {      /* header values as they came; SPAN_NONE = no such header */
    bool get, head;         /* the method */
    struct span path, http; /* "/ws", "HTTP/1.1" */
    struct span host;
    struct span upgrade, version, key, origin, protocols;
    struct span transfer_encoding, content_length;
};

struct guard_verdict {
    unsigned status;    /* HTTP status; 0 = go on */
    const char *code;   /* a stable word */
    const char *detail; /* English */
};

#define GUARD_PROTOCOL "taskhub.v1"

/* A request to upgrade to WebSocket. `origins` are the allowed ones, separated by spaces. */
struct guard_verdict guard_upgrade(const struct guard_request *request, const char *origins);
/* A request without an upgrade for a path that has no answer: why. */
struct guard_verdict guard_plain(const struct guard_request *request);
/* Any other request: what says how long its body is. */
struct guard_verdict guard_body(const struct guard_request *request);
/* Whether a request for `host` (a Host header; absent is fine) may be answered: it is an address in digits,
 * which no name service can turn against us, or one of the names in `hosts`, separated by spaces, * = any. */
bool guard_host(struct span host, const char *hosts);
/* The token of "Bearer TOKEN"; SPAN_NONE if the value of an Authorization header is not that. */
struct span guard_bearer(struct span authorization);
/* A request for /metrics: whoever has `token`; where that is NULL (none is configured), whoever asks from
 * `here`, this machine, without a proxy in between. */
struct guard_verdict guard_metrics(struct span authorization, const char *token, bool here);
/* Whether `origin` is one of the words in `origins`. */
bool guard_origin(struct span origin, const char *origins);
