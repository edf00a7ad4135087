/* One request of a client, whatever brought it (WebSocket message, batch element): who
 * asks, what, and how to answer. Handlers know nothing else. A request lives until it was answered,
 * once; its connection may close before. Loop thread only. */
#pragma once

#include "hub/json/json.h"
#include "hub/net/conn.h"

struct app; /* everything a handler reaches: handlers/rpc/app.h */
struct request;

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
    IN_BATCH = 1,   /* allowed inside a batch */
    NEEDS_REDIS = 2 /* answered at once while Redis hangs */
};
struct handler { /* one row of the dispatch table */
    const char *method;
    enum caller_role role; /* who may call it; VIEWER: viewers and admins */
    unsigned traits;       /* of enum handler_trait */
    const struct json_field *params;
    size_t param_count;
    void (*run)(struct request *request, const struct span *values); /* values match params */
};
#define HANDLER_PARAMS_MAX 8

struct app *request_app(const struct request *request);
const struct principal *request_who(const struct request *request); /* NULL: not authenticated, or gone */
/* Its connection, NULL when that has closed. */
struct conn *request_conn(const struct request *request);
/* The connection that reads the answer, NULL when nobody does: it has closed, or there is no id. */
struct conn *request_reader(const struct request *request);
const struct handler *request_handler(const struct request *request);
/* Answer; the request is freed. `result` is JSON text. */
void request_reply(struct request *request, struct span result);
void request_fail(struct request *request, const struct request_error *error);
/* From now on the answer depends on Redis: when that hangs, requests_stalled() calls `undo`, which must use
 * request_fail_early(); NULL = that is all there is to do. */
void request_waits(struct request *request, void (*undo)(struct request *request));
/* Answers a request for which a callback is still to come: until that answers it, too, which nobody hears, it
 * behaves as if its connection had closed. */
void request_fail_early(struct request *request, const struct request_error *error);
/* Redis hangs: whoever waits for it is answered, the outcome being unknown. */
void requests_stalled(void);
/* Its connection has closed and nobody will answer it: frees it. */
void request_drop(struct request *request);

/* What must come behind a request's answer, on every socket of the task's owner; for a batch element
 * behind the batch's answer. */
struct request_after {
    const char *owner, *task_id;
    struct event *event; /* borrowed; NULL = none was built */
    uint64_t told_seq;   /* the answer tells of this logged event: its connection does not get it again; 0 =
                            the event goes to that connection too */
    bool held;           /* app_hold() was called for the task: released here */
};
void request_reply_then(struct request *request, struct span result, const struct request_after *after);
