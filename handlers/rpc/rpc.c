/* SPDX-License-Identifier: MIT */
/* JSON-RPC 2.0: turns one text message into requests; see rpc.h. The strict slicer checks the whole
 * message once; after that it is only walked. Loop thread. Knows no method. */
#include "handlers/rpc/rpc.h"

#include "handlers/rpc/app.h"
#include "hub/config/options.h"

#include <stdio.h>

struct envelope {
    struct span version, id, method, params, unknown;
};

/* ---- answers ---- */

void rpc_write_answer(struct buf *to, struct span id, const struct request_error *error, struct span result)
{
    buf_append_span(to, SPAN("{\"jsonrpc\":\"2.0\",\"id\":"));
    buf_append_span(to, id);
    buf_append_span(to, error ? SPAN(",\"error\":") : SPAN(",\"result\":"));
    if (error)
        error_write(to, error);
    else
        buf_append_span(to, result);
    buf_append_char(to, '}');
}

void rpc_answer(struct answerer *to, struct span id, const struct request_error *error, struct span result)
{
    struct buf *text = requests_text(to->app->requests);
    rpc_write_answer(text, id, error, result);
    to->ops->send(to->sink, buf_span(text), false);
}

static void refuse(struct answerer *to, struct span id, enum rpc_code code, const char *message)
{
    const struct request_error error = {.code = code, .message = message};
    to->ops->answer(to, id.p ? id : SPAN("null"), &error, SPAN_NONE);
}

/* ---- one request ---- */

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

/* Why this is not a request object, NULL if it is one. *ret_id: the id to answer with, SPAN_NONE = null. */
static const char *envelope_fault(const struct envelope *envelope, struct span *ret_id)
{
    enum json_kind id = json_kind_of(envelope->id);
    bool id_fits = (id == KIND_STRING && envelope->id.n <= REQUEST_TAG_MAX) ||
                   (id == KIND_INTEGER && envelope->id.n <= REQUEST_TAG_MAX - 2); /* it has no quotes */
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

static void handle_one(struct answerer *to, struct span text)
{
    struct span id;
    char method[64] = "";
    if (json_kind_of(text) != KIND_OBJECT) {
        refuse(to, SPAN_NONE, RPC_REQUEST, "A request is an object");
        return;
    }
    struct envelope envelope = open_envelope(text);
    const char *fault = envelope_fault(&envelope, &id);
    if (fault)
        refuse(to, id, RPC_REQUEST, fault);
    else
        dispatch(to, json_string_copy(envelope.method, method, sizeof method) ? method : "", envelope.params,
                 envelope.id);
}

static void handle_batch(struct answerer *to, struct span text)
{
    int64_t count = 0, limit = to->app->options->batch;
    struct json_iter iter = json_walk(text);
    struct span element;
    while (json_next_element(&iter, &element))
        count++;
    if (count == 0 || count > limit) {
        char message[64];
        snprintf(message, sizeof message, "A batch holds 1 to %lld requests", (long long)limit);
        refuse(to, SPAN_NONE, RPC_REQUEST, message);
        return;
    }
    if (count > 1)
        load_count(to->load, (size_t)count - 1);
    struct answerer *batch = batch_new(to);
    iter = json_walk(text);
    while (json_next_element(&iter, &element) && !to->gone)
        handle_one(batch, element);
    answerer_unref(batch);
}

/* ---- messages ---- */

void rpc_message(void *from, struct span message, bool too_fast)
{
    static const struct request_error rate_limit = {.code = RPC_USER_LIMIT,
                                                    .word = "rate_limit",
                                                    .retry_ms = 1000,
                                                    .message = "Too many messages per second"};
    struct answerer *answerer = from;
    const char *reason = NULL;
    if (json_check(message, JSON_LIMITS, &reason) == KIND_NONE)
        refuse(answerer, SPAN_NONE, RPC_PARSE, reason);
    else if (too_fast)
        rpc_refuse(answerer, message, &rate_limit);
    else if (!answerer->entering || answerer->ops->admit(answerer, message))
        rpc_handle(answerer, message);
}

bool rpc_calls(struct span message, const char *method)
{
    return json_kind_of(message) == KIND_OBJECT && json_string_is(open_envelope(message).method, method);
}

void rpc_handle(struct answerer *to, struct span message)
{
    if (json_kind_of(message) == KIND_ARRAY)
        handle_batch(to, message);
    else
        handle_one(to, message);
}

void rpc_refuse(struct answerer *to, struct span message, const struct request_error *error)
{
    struct span id = SPAN_NONE;
    if (json_kind_of(message) == KIND_OBJECT) {
        struct envelope envelope = open_envelope(message);
        envelope_fault(&envelope, &id);
    }
    to->ops->answer(to, id.p ? id : SPAN("null"), error, SPAN_NONE);
}
