/* JSON-RPC 2.0: one text message into requests; see rpc.h. The whole message is checked once by the strict
 * slicer, then only walked. Loop thread. */
#include "handlers/rpc/rpc.h"

#include "handlers/session/session.h"
#include "hub/config/options.h"

#include <stdio.h>

struct envelope {
    struct span version, id, method, params, unknown;
};

static void refuse(struct conn *conn, struct batch *batch, struct span id, enum rpc_code code,
                   const char *message)
{
    rpc_refuse(conn, batch, id.p ? id : SPAN("null"),
               &(struct request_error){.code = code, .message = message});
}

static struct envelope open_envelope(struct span object)
{
    struct envelope envelope = {SPAN_NONE, SPAN_NONE, SPAN_NONE, SPAN_NONE, SPAN_NONE};
    struct json_iter iter = json_walk(object);
    struct span key, value;
    while (json_next_member(&iter, &key, &value)) {
        if (json_key_is(key, "jsonrpc"))
            envelope.version = value;
        else if (json_key_is(key, "id"))
            envelope.id = value;
        else if (json_key_is(key, "method"))
            envelope.method = value;
        else if (json_key_is(key, "params"))
            envelope.params = value;
        else
            envelope.unknown = key;
    }
    return envelope;
}

/* Why this is no request object, NULL if it is one. *ret_id: the id to answer with, SPAN_NONE = null. */
static const char *envelope_fault(const struct envelope *envelope, struct span *ret_id)
{
    enum json_kind id = json_kind_of(envelope->id);
    bool id_fits = (id == KIND_STRING && envelope->id.n <= RPC_ID_MAX) ||
                   (id == KIND_INTEGER && envelope->id.n <= RPC_ID_MAX - 2); /* it has no quotes */
    *ret_id = envelope->id.p && id_fits ? envelope->id : SPAN_NONE;
    if (envelope->id.p && !id_fits)
        return "id must be a string of at most 128 bytes or an integer";
    if (envelope->version.p == NULL || !json_string_is(envelope->version, "2.0"))
        return "jsonrpc must be \"2.0\"";
    if (json_kind_of(envelope->method) != KIND_STRING)
        return "method must be a string";
    if (envelope->unknown.p)
        return "a request has the members jsonrpc, id, method and params only";
    if (envelope->params.p && !(json_kind_of(envelope->params) & (KIND_OBJECT | KIND_ARRAY)))
        return "params must be an object";
    return NULL;
}

static const struct handler *find_handler(struct span method)
{
    char name[64];
    if (!json_string_copy(method, name, sizeof name))
        return NULL;
    return dispatch_find(span_of(name));
}

/* Whether the caller may use the method; else *ret_error. */
static bool allowed(const struct conn *conn, const struct batch *batch, const struct handler *handler,
                    struct request_error *ret_error)
{
    const struct principal *who = conn_who(conn);
    unsigned roles = who ? who->roles : 0;
    if (handler->role != ANYONE && who == NULL) {
        *ret_error = (struct request_error){.code = RPC_UNAUTHENTICATED};
        return false;
    }
    if ((handler->role == ADMIN && !(roles & ROLE_ADMIN)) ||
        (handler->role == VIEWER && !(roles & (ROLE_ADMIN | ROLE_VIEWER)))) {
        *ret_error = (struct request_error){.code = RPC_FORBIDDEN};
        return false;
    }
    if (batch && !(handler->traits & IN_BATCH)) {
        *ret_error = (struct request_error){.code = RPC_REQUEST, .message = "Not possible inside a batch"};
        return false;
    }
    return true;
}

static void run_request(struct conn *conn, struct batch *batch, const struct envelope *envelope)
{
    struct span values[HANDLER_PARAMS_MAX];
    const struct handler *handler = find_handler(envelope->method);
    struct request *request = request_new(conn, batch, handler, envelope->id);
    struct request_error error = {.code = conn_who(conn) ? RPC_METHOD : RPC_UNAUTHENTICATED};
    struct json_field_error fault;
    if (handler == NULL || !allowed(conn, batch, handler, &error)) {
        request_fail(request, &error);
        return;
    }
    if (json_kind_of(envelope->params) == KIND_ARRAY) {
        error = (struct request_error){.code = RPC_PARAMS, .message = "params must be an object"};
        request_fail(request, &error);
        return;
    }
    if (!json_match(envelope->params, handler->params, handler->param_count, values, &fault)) {
        error = (struct request_error){.code = RPC_PARAMS, .field = fault.field, .message = fault.message};
        request_fail(request, &error);
        return;
    }
    if (handler->traits & NEEDS_REDIS) {
        if (redis_is_stalled(queue_redis(request_app(request)->queue))) {
            request_fail(request, &error_unavailable);
            return;
        }
        request_waits(request, NULL);
    }
    handler->run(request, values);
}

static void handle_one(struct conn *conn, struct batch *batch, struct span text)
{
    struct span id;
    if (json_kind_of(text) != KIND_OBJECT) {
        refuse(conn, batch, SPAN_NONE, RPC_REQUEST, "A request is an object");
        return;
    }
    struct envelope envelope = open_envelope(text);
    const char *fault = envelope_fault(&envelope, &id);
    if (fault)
        refuse(conn, batch, id, RPC_REQUEST, fault);
    else
        run_request(conn, batch, &envelope);
}

static void handle_batch(struct conn *conn, struct span text)
{
    const struct app *app = conn_app(conn);
    struct conn_handle handle = conn_handle(conn);
    struct json_iter iter = json_walk(text);
    struct span element;
    int64_t count = 0;
    while (json_next_element(&iter, &element))
        count++;
    if (count == 0 || count > app->options->batch) {
        char message[64];
        snprintf(message, sizeof message, "A batch holds 1 to %lld requests", (long long)app->options->batch);
        refuse(conn, NULL, SPAN_NONE, RPC_REQUEST, message);
        return;
    }
    struct batch *batch = batch_begin(conn);
    iter = json_walk(text);
    while (json_next_element(&iter, &element) && conn_find(app->conns, handle))
        handle_one(conn, batch, element);
    batch_end(batch);
}

/* Whether the message waits: the connection is not ready for it, and it is no auth. */
static bool keeps(struct conn *conn, struct span message, enum json_kind kind)
{
    struct session *session = session_of(conn);
    if (conn_who(conn) && session->joining && session->entering == NULL)
        return false;
    bool is_auth = kind == KIND_OBJECT && json_string_is(open_envelope(message).method, "auth");
    return !is_auth && auth_keeps(session, message);
}

void rpc_refuse_message(struct conn *conn, struct span message, const struct request_error *error)
{
    struct span id = SPAN_NONE;
    if (json_kind_of(message) == KIND_OBJECT) {
        struct envelope envelope = open_envelope(message);
        envelope_fault(&envelope, &id);
    }
    rpc_refuse(conn, NULL, id.p ? id : SPAN("null"), error);
}

void rpc_message(struct conn *conn, struct span message)
{
    const char *reason = NULL;
    enum json_kind kind = json_check(message, JSON_LIMITS, &reason);
    if (kind == KIND_NONE) {
        refuse(conn, NULL, SPAN_NONE, RPC_PARSE, reason);
    } else if (!conn_rate_ok(conn)) {
        rpc_refuse_message(conn, message,
                           &(struct request_error){.code = RPC_USER_LIMIT,
                                                   .word = "rate_limit",
                                                   .retry_ms = 1000,
                                                   .message = "Too many messages per second"});
    } else if (keeps(conn, message, kind)) {
        return; /* it is handled when the connection is ready for it */
    } else if (kind == KIND_ARRAY) {
        handle_batch(conn, message);
    } else {
        handle_one(conn, NULL, message);
    }
}
