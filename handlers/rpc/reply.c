/* SPDX-License-Identifier: MIT */
/* Answers and refusals shared by several families of handlers, the order in which the answer to a
 * submission and the events of its task reach the owner's sockets, and parameters shared by several
 * methods. Loop thread; no state. */
#include "handlers/rpc/reply.h"

#include "handlers/rpc/app.h"
#include "handlers/rpc/rpc.h"
#include "hub/base/log.h"
#include "hub/base/utf8.h"
#include "hub/config/options.h"
#include "tasks/queue/event_text.h"

#include <stdio.h>

#define REFUSAL_TEXT 96
#define KEY_MISMATCH                                                                                         \
    {                                                                                                        \
        .code = RPC_CONFLICT, .word = "idempotency_mismatch", .field = "idempotency_key",                    \
        .message = "idempotency_key: already used for something else"                                        \
    }

void fail_queue(struct request *request, enum queue_code code)
{
    static const struct request_error errors[] = {
        [QUEUE_MISMATCH] = KEY_MISMATCH,
        [QUEUE_NOT_FOUND] = {.code = RPC_NOT_FOUND},
        [QUEUE_FORBIDDEN] = {.code = RPC_FORBIDDEN},
        [QUEUE_STATE] = {.code = RPC_CONFLICT},
        [QUEUE_INPUT_GONE] = {.code = RPC_CONFLICT,
                              .word = "input_gone",
                              .message = "The task's audio or file is gone"},
        [QUEUE_LOST] = {.code = RPC_CONFLICT},
    };
    static const struct request_error internal = {.code = RPC_INTERNAL};
    if (code == QUEUE_UNAVAILABLE)
        request_fail(request, &ERROR_UNAVAILABLE);
    else
        request_fail(request, errors[code].code ? &errors[code] : &internal);
}

void fail_field(struct request *request, const struct json_field_error *fault)
{
    request_fail(request, &(struct request_error){
                              .code = RPC_PARAMS, .field = fault->field, .message = fault->message});
}

void fail_param(struct request *request, const char *field, const char *expected)
{
    struct json_field_error fault;
    json_refuse(&fault, span_of(field), expected);
    fail_field(request, &fault);
}

void reply_answer(void *ctx, const struct queue_answer *answer)
{
    struct request *request = ctx;
    if (answer->code == QUEUE_OK)
        request_reply(request, answer->json);
    else
        fail_queue(request, answer->code);
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

/* ---- submissions that were refused ---- */

static const struct request_error refusals[] = {
    [TASK_UNKNOWN_TYPE] = {.code = RPC_PARAMS,
                           .word = "unknown_task",
                           .field = "task",
                           .message = "task: there is no task type of this name"},
    [TASK_BAD_ARGS] = {.code = RPC_PARAMS},
    [TASK_ROLE] = {.code = RPC_FORBIDDEN, .word = "role_missing", .field = "task"},
    [TASK_TYPE_NOT_IN_TOKEN] = {.code = RPC_FORBIDDEN, .word = "task_not_allowed", .field = "task"},
    [TASK_ARGS_TOO_LARGE] = {.code = RPC_TOO_LARGE, .field = "args"},
    [TASK_USER_LIMIT] = {.code = RPC_USER_LIMIT},
    [TASK_QUOTA] = {.code = RPC_USER_LIMIT,
                    .word = "quota",
                    .message = "quota.owner_bytes: as much as may be kept of one user is kept"},
    [TASK_GLOBAL_LIMIT] = {.code = RPC_BUSY},
    [TASK_BUSY] = {.code = RPC_BUSY},
    [TASK_UNAVAILABLE] = {.code = RPC_BUSY, .word = "unavailable"},
    [TASK_MISMATCH] = KEY_MISMATCH,
    [TASK_NEEDS_STREAM] = {.code = RPC_PARAMS,
                           .word = "needs_stream",
                           .field = "task",
                           .message = "task: this type takes an audio stream, use audio.start"},
    [TASK_NO_STREAM] = {.code = RPC_PARAMS,
                        .word = "no_stream",
                        .field = "task",
                        .message = "task: this type takes no audio stream, use task.submit"},
};

/* Writes which of a user's limits was reached. */
static void write_user_limit(const struct options *options, const struct task_reply *reply,
                             char text[static REFUSAL_TEXT])
{
    int64_t most = options->user_tasks;
    const char *what = "concurrent tasks";
    if (reply->type && reply->type->kind == TASK_LIGHT) {
        most = options->user_light;
        what = "light tasks in flight";
    } else if (reply->delayed) {
        most = options->user_delayed;
        what = "delayed tasks";
    }
    snprintf(text, REFUSAL_TEXT, "Maximum %lld %s per user exceeded", (long long)most, what);
}

/* The text of a refusal: one naming a field or a number, else the fixed one. */
static const char *refusal_text(const struct options *options, const struct task_reply *reply,
                                char text[static REFUSAL_TEXT])
{
    if (reply->refusal == TASK_BAD_ARGS)
        return reply->error.message;
    if (reply->refusal == TASK_ARGS_TOO_LARGE)
        snprintf(text, REFUSAL_TEXT, "args: at most %lld bytes", (long long)options->args_bytes);
    else if (reply->refusal == TASK_USER_LIMIT)
        write_user_limit(options, reply, text);
    else
        return refusals[reply->refusal].message;
    return text;
}

void reply_release(const struct request *request, const struct task_reply *reply)
{
    if (reply->news.held)
        owners_release(request->app->owners, reply->news.task_id);
}

bool reply_refused(struct request *request, const struct task_reply *reply)
{
    char text[REFUSAL_TEXT];
    struct request_error error = refusals[reply->refusal];
    if (reply->refusal == TASK_ACCEPTED || reply->refusal == TASK_DUPLICATE)
        return false;
    reply_release(request, reply);
    if (reply->refusal == TASK_BAD_ARGS)
        error.field = reply->error.field;
    error.message = refusal_text(request->app->options, reply, text);
    error.retry_ms = error.code == RPC_USER_LIMIT || error.code == RPC_BUSY ? reply->retry_ms : 0;
    error.used = reply->used;
    error.most = reply->most;
    request_fail(request, &error);
    return true;
}

/* ---- submissions that were accepted ---- */

/* The `seq` in an answer, decided only here: the client has everything up to it and may resume from it.
 * The end of a task that has already ended follows the answer, as may events before it. */
static uint64_t seq_of(const struct request *request, const struct task_reply *reply)
{
    if (reply->news.event == NULL)
        return reply->seq;
    uint64_t given = request_given(request);
    return given < reply->seq ? given : reply->seq - 1;
}

/* The accepted event for the owner's other sockets; the submitting one reads the reply. */
static struct event_text accepted_text(const struct task_reply *reply)
{
    return (struct event_text){.code = 'A',
                               .at_ms = reply->at_ms,
                               .id = span_of(reply->id),
                               .task = span_of(reply->type->name),
                               .owner = span_of(reply->news.owner)};
}

void reply_write(struct buf *to, const struct request *request, const struct task_reply *reply)
{
    buf_append_span(to, SPAN("{\"task_id\":\""));
    buf_append(to, reply->id, ID_SIZE - 1);
    buf_append_span(to, SPAN("\",\"status\":\""));
    buf_append_text(to, reply->status);
    buf_append_span(to, SPAN("\",\"seq\":"));
    buf_append_u64(to, seq_of(request, reply));
    const struct event_text accepted = accepted_text(reply);
    if (reply->news.seq)
        event_mark_member(to, event_text_mark(&accepted));
}

void reply_accepted(struct request *request, const struct task_reply *reply, struct span result)
{
    struct owner_news news = reply->news;
    const struct event_text text = accepted_text(reply);
    struct event *accepted = NULL;
    if (news.seq && owners_listening(request->app->owners, news.owner, request_member(request)))
        news.event = accepted = event_text_build(&text, reply->seq, 0);
    request_reply_then(request, result, &news);
    event_unref(&accepted);
}

void reply_submitted(void *ctx, const struct task_reply *reply)
{
    struct request *request = ctx;
    if (reply_refused(request, reply))
        return;
    struct buf *result = request_result(request);
    reply_write(result, request, reply);
    buf_append_span(result, reply->refusal == TASK_DUPLICATE ? SPAN(",\"duplicate\":true}") : SPAN("}"));
    reply_accepted(request, reply, buf_span(result));
}

/* ---- parameters ---- */

uint64_t number_or(struct span value, uint64_t otherwise)
{
    int64_t number;
    return value.p && json_int(value, &number) ? (uint64_t)number : otherwise;
}

const char *text_of(struct span value, char *text, size_t size)
{
    return value.p && json_string_copy(value, text, size) ? text : NULL;
}

bool take_task_id(struct request *request, struct span value, char id[static ID_SIZE])
{
    if (json_string_copy(value, id, ID_SIZE) && id_valid(span_of(id)))
        return true;
    fail_param(request, "task_id", "must be a task's id");
    return false;
}

bool take_key(struct request *request, struct span value, char text[static KEY_SIZE], struct span *ret_key)
{
    *ret_key = SPAN_NONE;
    if (value.p == NULL)
        return true;
    size_t n = json_string_bytes(value);
    if (!json_string_copy(value, text, KEY_SIZE) || n == 0 || !utf8_printable(text, n)) {
        fail_param(request, "idempotency_key", "must be 1 to 128 bytes of printable characters");
        return false;
    }
    *ret_key = (struct span){text, n};
    return true;
}
