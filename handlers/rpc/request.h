/* SPDX-License-Identifier: MIT */
/* One request of a client, whatever brought it: who asks, what, and how to answer. Handlers know nothing
 * else. A request lives until it was answered, once; whoever reads the answer may leave before. Loop thread
 * only. */
#pragma once

#include "handlers/rpc/answerer.h"
#include "hub/json/json.h"

struct requests; /* all requests of a hub */

enum rpc_code {
    RPC_PARSE = -32700,
    RPC_REQUEST = -32600,
    RPC_METHOD = -32601,
    RPC_PARAMS = -32602,
    RPC_INTERNAL = -32603,
    RPC_UNAUTHENTICATED = -32001,
    RPC_FORBIDDEN = -32003,
    RPC_NOT_FOUND = -32004,
    RPC_CONFLICT = -32009,
    RPC_TOO_LARGE = -32013,
    RPC_MEDIA = -32015,
    RPC_USER_LIMIT = -32029,
    RPC_BUSY = -32053,
};
struct request_error {
    enum rpc_code code;
    const char *word;    /* error.data.code, NULL = the code's own word */
    const char *field;   /* error.data.field or NULL */
    uint64_t retry_ms;   /* error.data.retry_ms, 0 = none */
    const char *message; /* NULL = the code's own text */
};

enum caller_role { ANYONE, AUTHENTICATED, VIEWER, ADMIN };
enum handler_trait {
    IN_BATCH = 1,    /* allowed inside a batch */
    NEEDS_REDIS = 2, /* answered at once while Redis hangs */
    NEEDS_CLIENT = 4 /* only for who stays connected */
};
struct request;
struct handler { /* one row of the dispatch table */
    const char *method;
    enum caller_role role; /* who may call it; VIEWER: viewers and admins */
    unsigned traits;       /* of enum handler_trait */
    const struct json_field *params;
    size_t param_count;
    void (*run)(struct request *request, const struct span *values); /* values match params */
};
#define HANDLER_PARAMS_MAX 8

#define REQUEST_TAG_MAX 130 /* JSON-RPC: the raw bytes of an id, 128 and two quotes */
struct request {
    struct app *app;
    const struct handler *handler;
    struct span params; /* while it runs: the object that `values` are of; SPAN_NONE = there was none */

    /* request.c's own */
    struct answerer *to; /* NULL: answered early */
    struct load *load;   /* that it counts in */
    struct list node;    /* in the free list, or among those that wait for Redis */
    void (*undo)(struct request *request);
    bool wanted; /* somebody waits for the answer */
    size_t tag_size;
    char tag[REQUEST_TAG_MAX];
};

/* Freed by requests_free(). */
struct requests *requests_new(void);
/* Call it when every request has been answered. */
void requests_free(struct requests **requests);

/* A request of `to`, which lives until it is answered or dropped. `tag` (at most REQUEST_TAG_MAX bytes,
 * copied) goes with the answer; SPAN_NONE: nobody waits for one. */
struct request *request_new(struct answerer *to, const struct handler *handler, struct span tag);
/* Runs a method for `to`, or answers why not. `params`: text that json_check() accepted, SPAN_NONE = none. */
void dispatch(struct answerer *to, const char *method, struct span params, struct span tag);
/* Who asks; NULL: not authenticated, or gone. */
const struct principal *request_who(const struct request *request);
/* What lasts as long as the connection; NULL: there is none, or it has closed. */
struct client *request_client(const struct request *request);
/* Who hears of the owner's events and reads this answer; NULL: nobody does. */
struct member *request_member(const struct request *request);
/* Up to which logged event everything was given to who asks; UINT64_MAX: no events go there. */
uint64_t request_given(const struct request *request);
/* An empty buffer to write the result in; the next request's is the same one. */
struct buf *request_result(const struct request *request);
/* The same for a whole message. */
struct buf *requests_text(struct requests *requests);
/* Answers with `result`, JSON text, or with an error; the request is freed. */
void request_reply(struct request *request, struct span result);
/* The same, and `news` (borrowed) comes behind the answer; for a batch element behind the batch's answer. */
void request_reply_then(struct request *request, struct span result, const struct owner_news *news);
/* `error` and its texts are borrowed during the call. */
void request_fail(struct request *request, const struct request_error *error);
/* From now on the answer depends on Redis: when that hangs, requests_stalled() calls `undo`, which must use
 * request_fail_early(); NULL = that is all there is to do. */
void request_waits(struct request *request, void (*undo)(struct request *request));
/* Answers a request for which a callback is still to come: until that answers it, too, which nobody hears, it
 * behaves as if its reader had left. */
void request_fail_early(struct request *request, const struct request_error *error);
/* Redis hangs: whoever waits for it is answered, the outcome being unknown. */
void requests_stalled(struct requests *requests);
/* Nobody will answer it: frees it. */
void request_drop(struct request *request);
