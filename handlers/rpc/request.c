/* SPDX-License-Identifier: MIT */
/* Requests: the objects, the only way into the methods, and the answers; see request.h. Loop thread. Knows
 * no method and no envelope. */
#include "handlers/rpc/request.h"

#include "handlers/rpc/app.h"
#include "handlers/rpc/rpc.h"

#define FREE_MAX 1024 /* request objects kept for reuse */

struct requests {
    struct list free, waiting;
    unsigned free_count;
    struct buf result, text; /* the result and the message being written */
};

struct requests *requests_new(void)
{
    struct requests *requests = xcalloc(1, sizeof *requests);
    list_init(&requests->free);
    list_init(&requests->waiting);
    return requests;
}

void requests_free(struct requests **requests_ptr)
{
    struct requests *requests = *requests_ptr;
    *requests_ptr = NULL;
    for (struct list *node; (node = list_pop(&requests->free)) != NULL;)
        free(container_of(node, struct request, node));
    buf_free(&requests->result);
    buf_free(&requests->text);
    free(requests);
}

/* ---- who reads ---- */

void answerer_unref(struct answerer *answerer)
{
    if (--answerer->refs == 0)
        answerer->ops->free(answerer);
}

void answerer_gone(struct answerer *answerer)
{
    answerer->gone = true;
    answerer->who = NULL;
    answerer->member = NULL;
    answerer->client = NULL;
    answerer->given = NULL;
    answerer_unref(answerer);
}

/* The final reader, also for a batch. */
static const struct answerer *reader_of(const struct answerer *answerer)
{
    return answerer->collects_for ? answerer->collects_for : answerer;
}

/* ---- the object ---- */

struct request *request_new(struct answerer *to, const struct handler *handler, struct span tag)
{
    struct requests *requests = to->app->requests;
    struct list *node = list_pop(&requests->free);
    struct request *request;
    if (node) {
        request = container_of(node, struct request, node);
        requests->free_count--;
    } else {
        request = xmalloc(sizeof *request);
        list_init(&request->node);
    }
    request->app = to->app;
    request->to = to;
    request->load = load_begin(reader_of(to)->load);
    request->handler = handler;
    request->params = SPAN_NONE;
    request->wanted = tag.p != NULL;
    request->tag_size = tag.n;
    if (tag.n)
        memcpy(request->tag, tag.p, tag.n);
    to->refs++;
    return request;
}

void request_drop(struct request *request)
{
    struct requests *requests = request->app->requests;
    struct answerer *to = request->to;
    list_remove(&request->node);
    load_end(request->load);
    if (requests->free_count < FREE_MAX) {
        requests->free_count++;
        list_append(&requests->free, &request->node);
    } else {
        free(request);
    }
    if (to)
        answerer_unref(to);
}

const struct principal *request_who(const struct request *request)
{
    return request->to ? reader_of(request->to)->who : NULL;
}

struct client *request_client(const struct request *request)
{
    return request->to ? reader_of(request->to)->client : NULL;
}

static bool is_read(const struct request *request)
{
    return request->wanted && request->to && !reader_of(request->to)->gone;
}

struct member *request_member(const struct request *request)
{
    return is_read(request) ? reader_of(request->to)->member : NULL;
}

uint64_t request_given(const struct request *request)
{
    const struct answerer *reader = request->to ? reader_of(request->to) : NULL;
    return reader && reader->given ? *reader->given : UINT64_MAX;
}

struct buf *request_result(const struct request *request)
{
    buf_clear(&request->app->requests->result);
    return &request->app->requests->result;
}

struct buf *requests_text(struct requests *requests)
{
    buf_clear(&requests->text);
    return &requests->text;
}

/* ---- dispatch ---- */

static const struct handler *find_handler(const struct app *app, const char *method)
{
    for (size_t i = 0; i < app->method_count; i++)
        if (strcmp(app->methods[i].method, method) == 0)
            return &app->methods[i];
    return NULL;
}

static bool may_call(unsigned roles, enum caller_role role)
{
    return role == ADMIN ? roles & ROLE_ADMIN : role != VIEWER || roles & (ROLE_ADMIN | ROLE_VIEWER);
}

/* Whether the caller may use the method here; else *ret_error. */
static bool allowed(struct answerer *to, const struct handler *handler, struct request_error *ret_error)
{
    const struct answerer *reader = reader_of(to);
    if (handler->role != ANYONE && reader->who == NULL)
        *ret_error = (struct request_error){.code = RPC_UNAUTHENTICATED};
    else if (!may_call(reader->who ? reader->who->roles : 0, handler->role))
        *ret_error = (struct request_error){.code = RPC_FORBIDDEN};
    else if (to->collects_for && !(handler->traits & IN_BATCH))
        *ret_error = (struct request_error){.code = RPC_REQUEST, .message = "Not possible inside a batch"};
    else if (reader->client == NULL && handler->traits & NEEDS_CLIENT)
        *ret_error = (struct request_error){.code = RPC_REQUEST,
                                            .message = "Possible on a connection that stays only"};
    else
        return true;
    return false;
}

/* Whether the parameters have the method's shape: then sets *values; else *ret_error, whose texts are in
 * *fault. */
static bool take_params(struct span params, const struct handler *handler, struct span *values,
                        struct json_field_error *fault, struct request_error *ret_error)
{
    *ret_error = (struct request_error){.code = RPC_PARAMS, .message = "params must be an object"};
    if (json_kind_of(params) == KIND_ARRAY)
        return false;
    if (json_match(params, handler->params, handler->param_count, values, fault))
        return true;
    ret_error->field = fault->field;
    ret_error->message = fault->message;
    return false;
}

void dispatch(struct answerer *to, const char *method, struct span params, struct span tag)
{
    struct span values[HANDLER_PARAMS_MAX];
    const struct handler *handler = find_handler(to->app, method);
    struct request *request = request_new(to, handler, tag);
    struct request_error error = {.code = request_who(request) ? RPC_METHOD : RPC_UNAUTHENTICATED};
    struct json_field_error fault;
    if (handler == NULL || !allowed(to, handler, &error) ||
        !take_params(params, handler, values, &fault, &error)) {
        request_fail(request, &error);
        return;
    }
    if (handler->role != ANYONE && to->app->revocations_unknown) {
        request_fail(request, &ERROR_UNAVAILABLE);
        return;
    }
    if (handler->traits & NEEDS_REDIS) {
        if (redis_is_stalled(queue_redis(to->app->queue))) {
            request_fail(request, &ERROR_UNAVAILABLE);
            return;
        }
        request_waits(request, NULL);
    }
    request->params = params;
    handler->run(request, values);
}

/* ---- answers ---- */

static void answer(struct request *request, const struct request_error *error, struct span result)
{
    struct answerer *to = request->to;
    if (is_read(request))
        to->ops->answer(to, (struct span){request->tag, request->tag_size}, error, result);
}

void request_reply(struct request *request, struct span result)
{
    answer(request, NULL, result);
    request_drop(request);
}

void request_reply_then(struct request *request, struct span result, const struct owner_news *news)
{
    struct answerer *to = request->to;
    struct owners *owners = request->app->owners;
    const struct member *reader = request_member(request);
    bool follows = to && to->ops->follow;
    answer(request, NULL, result);
    if (follows)
        to->ops->follow(to, news, is_read(request));
    request_drop(request);
    if (!follows)
        owners_news(owners, news, reader);
}

void request_fail(struct request *request, const struct request_error *error)
{
    answer(request, error, SPAN_NONE);
    request_drop(request);
}

/* ---- Redis hangs ---- */

void request_waits(struct request *request, void (*undo)(struct request *request))
{
    request->undo = undo;
    list_append(&request->app->requests->waiting, &request->node);
}

void request_fail_early(struct request *request, const struct request_error *error)
{
    struct answerer *to = request->to;
    list_remove(&request->node);
    answer(request, error, SPAN_NONE);
    request->to = NULL;
    if (to)
        answerer_unref(to);
}

void requests_stalled(struct requests *requests)
{
    for (struct list *node; (node = list_pop(&requests->waiting)) != NULL;) {
        struct request *request = container_of(node, struct request, node);
        if (request->undo)
            request->undo(request);
        else
            request_fail_early(request, &ERROR_UNAVAILABLE);
    }
}
