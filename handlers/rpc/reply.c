/* SPDX-License-Identifier: MIT */
/* Answers and refusals that several families of handlers give. Loop thread; no state. */
#include "handlers/rpc/reply.h"

#include "handlers/rpc/rpc.h"
#include "hub/base/log.h"

#include <stdio.h>

void fail_queue(struct request *request, enum queue_code code)
{
    static const struct {
        enum queue_code code;
        struct request_error error;
    } rows[] = {
        {QUEUE_NOT_FOUND, {.code = RPC_NOT_FOUND}},
        {QUEUE_FORBIDDEN, {.code = RPC_FORBIDDEN}},
        {QUEUE_STATE, {.code = RPC_CONFLICT}},
        {QUEUE_LOST, {.code = RPC_CONFLICT}},
        {QUEUE_INPUT_GONE,
         {.code = RPC_CONFLICT, .word = "input_gone", .message = "The task's audio or file is gone"}},
    };
    struct request_error error = {.code = RPC_INTERNAL};
    if (code == QUEUE_UNAVAILABLE)
        error = error_unavailable;
    for (size_t i = 0; i < NELEMS(rows); i++)
        if (rows[i].code == code)
            error = rows[i].error;
    request_fail(request, &error);
}

void fail_param(struct request *request, const char *field, const char *message)
{
    request_fail(request, &(struct request_error){.code = RPC_PARAMS, .field = field, .message = message});
}

void reply_answer(void *ctx, const struct queue_answer *answer)
{
    struct request *request = ctx;
    if (answer->code == QUEUE_OK)
        request_reply(request, answer->json);
    else
        fail_queue(request, answer->code);
}

void reply_internal(void *ctx, bool failed, const char *error_code, struct span result)
{
    struct request *request = ctx;
    char message[160], field[64];
    bool absent = failed && strcmp(error_code, "not_found") == 0;
    if (!failed) {
        request_reply(request, result);
    } else if (strcmp(error_code, "params") ==
               0) { /* "field: what is wrong with it": only the database could tell */
        snprintf(message, sizeof message, "%.*s", (int)(result.n < 150 ? result.n : 150), result.p);
        snprintf(field, sizeof field, "%.*s", (int)strcspn(message, ":"), message);
        fail_param(request, field, message);
    } else {
        log_warn("a request that needs the database failed", "method", request->handler->method, "code",
                 error_code);
        request_fail(request, &(struct request_error){.code = absent ? RPC_NOT_FOUND : RPC_INTERNAL,
                                                      .word = absent ? NULL : error_code});
    }
}

void reply_done(void *ctx, enum queue_code code)
{
    if (code == QUEUE_OK)
        request_reply(ctx, SPAN("{\"ok\":true}"));
    else
        fail_queue(ctx, code);
}

void log_admin_act(const struct request *request, const char *task_id)
{
    const struct principal *who = request_who(request);
    if (who)
        log_info("admin act", "user", who->user_id, "method", request->handler->method, "task_id", task_id);
}

const char *text_of(struct span value, char *text, size_t size)
{
    return value.p && json_string_copy(value, text, size) ? text : NULL;
}

bool take_task_id(struct request *request, struct span value, char id[static ID_SIZE])
{
    if (json_string_copy(value, id, ID_SIZE) && id_valid(span_of(id)))
        return true;
    fail_param(request, "task_id", "task_id: must be a task's id");
    return false;
}
