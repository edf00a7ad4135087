/* SPDX-License-Identifier: MIT */
/* One request of a client, whichever way it came: who asks, what, and how to answer. Handlers know nothing
 * else. A request lives until it is answered, exactly once; the reader of the answer may leave before.
 * Loop thread only. */
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
    uint64_t used, most; /* error.data.used and .limit, both left out where .limit would be 0 */
    const char *message; /* NULL = the code's own text */
};

enum caller_role { ANYONE, AUTHENTICATED, VIEWER, ADMIN };
enum handler_trait {
    IN_BATCH = 1,    /* allowed inside a batch */
    NEEDS_REDIS = 2, /* answered at once while Redis hangs */
    NEEDS_CLIENT = 4 /* only for readers who stay connected */
};
struct request;
struct handler { /* one row of the dispatch table */
    const char *method;
    enum caller_role role; /* who may call it; VIEWER: viewers and admins */
    unsigned traits;       /* bits of enum handler_trait */
    const struct json_field *params;
    size_t param_count;
    void (*run)(struct request *request, const struct span *values); /* values match params */
};
#define HANDLER_PARAMS_MAX 8

#define REQUEST_TAG_MAX 130 /* JSON-RPC: the raw bytes of an id, 128 and two quotes */
struct request {
    struct app *app;
    const struct handler *handler;
    struct span params; /* while it runs: the object that contains `values`; SPAN_NONE = there was none */

    /* private to request.c */
    struct answerer *to; /* NULL: answered early */
    struct load *load;   /* that counts it */
    struct list node;    /* in the free list, or in the list of those waiting for Redis */
    void (*undo)(struct request *request);
    bool wanted; /* the client expects an answer */
    size_t tag_size;
    char tag[REQUEST_TAG_MAX];
};

/* Freed by requests_free(). */
struct requests *requests_new(void);
/* Call it when every request has been answered. */
void requests_free(struct requests **requests);

/* Makes a request of `to`, which lives until it is answered or dropped. `tag` (at most REQUEST_TAG_MAX
 * bytes, copied) goes with the answer; SPAN_NONE: nobody waits for one. */
struct request *request_new(struct answerer *to, const struct handler *handler, struct span tag);
/* Runs a method for `to`, or answers why not. `params`: text that json_check() accepted, SPAN_NONE = none. */
void dispatch(struct answerer *to, const char *method, struct span params, struct span tag);
/* The authenticated caller; NULL: not authenticated, or gone. */
const struct principal *request_who(const struct request *request);
/* The state that lasts as long as the connection; NULL: there is none, or it has closed. */
struct client *request_client(const struct request *request);
/* The member that gets the owner's events and reads this answer; NULL: nobody does. */
struct member *request_member(const struct request *request);
/* The last logged event up to which the caller got everything; UINT64_MAX: the caller gets no events. */
uint64_t request_given(const struct request *request);
/* An empty buffer for the result; all requests share it. */
struct buf *request_result(const struct request *request);
/* An empty buffer for a whole message; shared, too. */
struct buf *requests_text(struct requests *requests);
/* Answers with `result`, JSON text, or with an error; the request is freed. */
void request_reply(struct request *request, struct span result);
/* The same, and `news` (borrowed) follows the answer; within a batch, the batch's answer. */
void request_reply_then(struct request *request, struct span result, const struct owner_news *news);
/* Answers with an error, which with its texts is borrowed during the call; the request is freed. */
void request_fail(struct request *request, const struct request_error *error);
/* Marks that the answer depends on Redis from now on: if that hangs, requests_stalled() calls `undo`,
 * which must use request_fail_early(); NULL = nothing to undo. */
void request_waits(struct request *request, void (*undo)(struct request *request));
/* Answers a request whose callback is still to come: until then it behaves as if its reader had left, and
 * the second answer is dropped. */
void request_fail_early(struct request *request, const struct request_error *error);
/* Call when Redis hangs: answers every request that waits for it, with the outcome unknown. */
void requests_stalled(struct requests *requests);
/* Frees a request that nobody will answer. */
void request_drop(struct request *request);
