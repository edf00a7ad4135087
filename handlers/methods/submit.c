/* SPDX-License-Identifier: MIT */
/* task.submit, and the answer to every submission: refusals in the words of the protocol, and the order in
 * which reply and events of an accepted task reach the sockets of its owner. Loop thread. */
#include "handlers/methods/submit.h"

#include "handlers/methods/methods.h"
#include "handlers/rpc/reply.h"
#include "hub/config/options.h"
#include "tasks/queue/event_text.h"

#include <stdio.h>

#define PRIORITY_DEFAULT 4
#define INTERNAL_RETRY_MS 1000 /* what a client waits before it asks the database again */

uint64_t number_or(struct span value, uint64_t otherwise)
{
    int64_t number;
    return value.p && json_int(value, &number) ? (uint64_t)number : otherwise;
}

bool submit_take_key(struct request *request, struct span value, char text[static SUBMIT_KEY_SIZE],
                     struct span *ret_key)
{
    *ret_key = SPAN_NONE;
    if (value.p == NULL)
        return true;
    bool fits = json_string_copy(value, text, SUBMIT_KEY_SIZE);
    for (const char *p = text; fits && *p; p++)
        fits = *p >= ' ' && *p <= '~';
    if (!fits) {
        fail_param(request, "idempotency_key", "idempotency_key: must be printable ASCII");
        return false;
    }
    *ret_key = span_of(text);
    return true;
}

/* ---- refusals ---- */

static const struct {
    enum task_refusal refusal;
    struct request_error error;
} refusals[] = {
    {TASK_UNKNOWN_TYPE,
     {.code = RPC_PARAMS,
      .word = "unknown_task",
      .field = "task",
      .message = "task: there is no task type of this name"}},
    {TASK_ROLE, {.code = RPC_FORBIDDEN, .word = "role_missing", .field = "task"}},
    {TASK_TYPE_NOT_IN_TOKEN, {.code = RPC_FORBIDDEN, .word = "task_not_allowed", .field = "task"}},
    {TASK_ARGS_TOO_LARGE, {.code = RPC_TOO_LARGE, .field = "args"}},
    {TASK_USER_LIMIT, {.code = RPC_USER_LIMIT}},
    {TASK_GLOBAL_LIMIT, {.code = RPC_BUSY}},
    {TASK_BUSY, {.code = RPC_BUSY}},
    {TASK_UNAVAILABLE, {.code = RPC_BUSY, .word = "unavailable"}},
    {TASK_MISMATCH,
     {.code = RPC_CONFLICT,
      .word = "idempotency_mismatch",
      .field = "idempotency_key",
      .message = "idempotency_key: already used with another task type or other arguments"}},
    {TASK_NEEDS_STREAM,
     {.code = RPC_PARAMS,
      .word = "needs_stream",
      .field = "task",
      .message = "task: this type takes an audio stream, use audio.start"}},
    {TASK_NO_STREAM,
     {.code = RPC_PARAMS,
      .word = "no_stream",
      .field = "task",
      .message = "task: this type takes no audio stream, use task.submit"}},
};

/* The text of a refusal that names a number; else the fixed one. */
static const char *refusal_text(const struct options *options, const struct task_reply *reply,
                                const char *fixed, char *text, size_t size)
{
    bool light = reply->type && reply->type->kind == TASK_LIGHT;
    if (reply->refusal == TASK_ARGS_TOO_LARGE)
        snprintf(text, size, "args: at most %lld bytes", (long long)options->args_bytes);
    else if (reply->refusal == TASK_USER_LIMIT)
        snprintf(text, size, "Maximum %lld %s per user exceeded",
                 (long long)(light ? options->user_light : options->user_tasks),
                 light ? "light tasks in flight" : "concurrent tasks");
    else
        return fixed;
    return text;
}

void submit_release(const struct request *request, const struct task_reply *reply)
{
    if (reply->news.held)
        owners_release(request->app->owners, reply->news.task_id);
}

bool submit_refused(struct request *request, const struct task_reply *reply)
{
    char text[96];
    struct request_error error = {.code = RPC_INTERNAL};
    if (reply->refusal == TASK_ACCEPTED || reply->refusal == TASK_DUPLICATE)
        return false;
    submit_release(request, reply);
    for (size_t i = 0; i < NELEMS(refusals); i++)
        if (refusals[i].refusal == reply->refusal)
            error = refusals[i].error;
    if (reply->refusal == TASK_BAD_ARGS)
        error = (struct request_error){
            .code = RPC_PARAMS, .field = reply->error.field, .message = reply->error.message};
    error.message = refusal_text(request->app->options, reply, error.message, text, sizeof text);
    error.retry_ms = error.code == RPC_USER_LIMIT || error.code == RPC_BUSY ? reply->retry_ms : 0;
    request_fail(request, &error);
    return true;
}

void submit_internal(struct request *request, const struct task_type *type)
{
    struct task_reply reply = {.type = type, .retry_ms = INTERNAL_RETRY_MS};
    reply.refusal =
        manager_run_internal(request->app->manager, type, request_who(request)->user_id,
                             request->params.p ? request->params : SPAN("{}"), reply_internal, request);
    submit_refused(request, &reply);
}

/* ---- accepted ---- */

/* The one place that knows what `seq` the answer says: up to there the client has everything, and may resume
 * from it. The end of a task that has ended comes behind the answer, as may events before it. */
static uint64_t seq_of(const struct request *request, const struct task_reply *reply)
{
    if (reply->news.event == NULL)
        return reply->seq;
    uint64_t given = request_given(request);
    return given < reply->seq ? given : reply->seq - 1;
}

void submit_write(struct buf *to, const struct request *request, const struct task_reply *reply)
{
    buf_append_span(to, SPAN("{\"task_id\":\""));
    buf_append(to, reply->id, ID_SIZE - 1);
    buf_append_span(to, SPAN("\",\"status\":\""));
    buf_append_text(to, reply->status);
    buf_append_span(to, SPAN("\",\"seq\":"));
    buf_append_u64(to, seq_of(request, reply));
}

/* The event for other sockets of the owner; the submitting one reads the reply. */
static struct event *accepted_event(const struct task_reply *reply)
{
    struct event_text text = {.code = 'A',
                              .at_ms = reply->at_ms,
                              .id = span_of(reply->id),
                              .task = span_of(reply->type->name),
                              .owner = span_of(reply->news.owner)};
    return event_text_build(&text, reply->seq, 0);
}

void submit_accepted(struct request *request, const struct task_reply *reply, struct span result)
{
    struct owner_news news = reply->news;
    struct event *accepted = NULL;
    if (news.seq && owners_listening(request->app->owners, news.owner, request_member(request)))
        news.event = accepted = accepted_event(reply);
    request_reply_then(request, result, &news);
    event_unref(&accepted);
}

/* ---- task.submit ---- */

static void on_submitted(void *ctx, const struct task_reply *reply)
{
    struct request *request = ctx;
    if (submit_refused(request, reply))
        return;
    struct buf *result = request_result(request);
    submit_write(result, request, reply);
    buf_append_span(result, reply->refusal == TASK_DUPLICATE ? SPAN(",\"duplicate\":true}") : SPAN("}"));
    submit_accepted(request, reply, buf_span(result));
}

void run_task_submit(struct request *request, const struct span *values)
{
    char name[65], key[SUBMIT_KEY_SIZE];
    struct task_request submit = {
        .who = request_who(request),
        .args = values[1],
        .priority = (unsigned)number_or(values[3], PRIORITY_DEFAULT),
        .delay_ms = number_or(values[4], 0),
        .expires_ms = number_or(values[5], 0),
    };
    if (!submit_take_key(request, values[2], key, &submit.idempotency_key))
        return;
    submit.task = json_string_copy(values[0], name, sizeof name) ? span_of(name) : SPAN_NONE;
    task_manager_submit(request->app->manager, &submit, on_submitted, request);
}
