/* SPDX-License-Identifier: MIT */
/* task.*: submitting, reading, cancelling and retrying tasks; admin.tasks. Loop thread. Never decides who
 * may act on a task: the Lua functions do. */
#include "handlers/methods/methods.h"
#include "handlers/rpc/reply.h"
#include "hub/base/clock.h"
#include "tasks/queue/event_text.h"
#include "tasks/queue/shard.h"

#define PRIORITY_DEFAULT 4
#define LIST_DEFAULT 50

void run_task_submit(struct request *request, const struct span *values)
{
    char name[65], key[KEY_SIZE];
    struct task_request submit = {
        .who = request_who(request),
        .args = values[1],
        .priority = (unsigned)number_or(values[3], PRIORITY_DEFAULT),
        .delay_ms = number_or(values[4], 0),
        .expires_ms = number_or(values[5], 0),
    };
    if (!take_key(request, values[2], key, &submit.idempotency_key))
        return;
    submit.task = text_of(values[0], name, sizeof name);
    task_manager_submit(request->app->manager, &submit, reply_submitted, request);
}

/* ---- one task ---- */

static struct queue_caller caller_of(const struct request *request)
{
    const struct principal *who = request_who(request);
    return (struct queue_caller){.owner = who->user_id,
                                 .any_read = (who->roles & (ROLE_ADMIN | ROLE_VIEWER)) != 0,
                                 .any_write = (who->roles & ROLE_ADMIN) != 0,
                                 .sees_workers = (who->roles & (ROLE_ADMIN | ROLE_VIEWER)) != 0};
}

typedef void one_task_fn(struct queue *queue, const struct queue_caller *who, const char *id,
                         queue_answer_fn *fn, void *ctx);

struct attempt { /* a call by somebody whose role may reach other owners' tasks */
    struct request *request;
    one_task_fn *call;
    queue_answer_fn *then;
    char id[ID_SIZE];
};

/* Repeats the call with the caller's role if it is another owner's task, and logs that. */
static void on_attempt(void *ctx, const struct queue_answer *answer)
{
    struct attempt *attempt = ctx;
    struct request *request = attempt->request;
    if (answer->code == QUEUE_FORBIDDEN && request_who(request)) {
        struct queue_caller caller = caller_of(request);
        log_admin_act(request, attempt->id);
        attempt->call(request->app->queue, &caller, attempt->id, attempt->then, request);
    } else {
        attempt->then(request, answer);
    }
    free(attempt);
}

/* Calls `call` for the task named by `value`; `writes`: only an admin may do that to others' tasks. */
static void with_task(struct request *request, struct span value, bool writes, one_task_fn *call,
                      queue_answer_fn *then)
{
    char id[ID_SIZE];
    struct queue *queue = request->app->queue;
    if (!take_task_id(request, value, id))
        return;
    struct queue_caller caller = caller_of(request);
    if (!(writes ? caller.any_write : caller.any_read)) {
        call(queue, &caller, id, then, request);
        return;
    }
    struct attempt *attempt = xmalloc(sizeof *attempt);
    *attempt = (struct attempt){.request = request, .call = call, .then = then};
    memcpy(attempt->id, id, ID_SIZE);
    caller.any_read = caller.any_write = false;
    call(queue, &caller, id, on_attempt, attempt);
}

void run_task_get(struct request *request, const struct span *values)
{
    with_task(request, values[0], false, queue_get, reply_answer);
}

void run_task_why(struct request *request, const struct span *values)
{
    with_task(request, values[0], false, queue_why, reply_answer);
}

static void on_cancelled(void *ctx, const struct queue_answer *answer)
{
    struct request *request = ctx;
    if (answer->code != QUEUE_OK) {
        fail_queue(request, answer->code);
        return;
    }
    manager_cancel_local(request->app->manager, answer->id);
    audio_ended(request->app, answer->id);
    struct buf *result = request_result(request);
    buf_printf(result, "{\"task_id\":\"%s\",\"status\":\"%s\"", answer->id, answer->status);
    if (answer->stage[0]) {
        buf_append_text(result, ",\"stage\":");
        buf_append_json(result, span_of(answer->stage));
    }
    buf_append_char(result, '}');
    request_reply(request, buf_span(result));
}

void run_task_cancel(struct request *request, const struct span *values)
{
    with_task(request, values[0], true, queue_cancel, on_cancelled);
}

struct retry { /* task.retry under way */
    struct request *request;
    const struct task_type *type;                          /* NULL: unknown to this hub */
    char id[ID_SIZE], new_id[ID_SIZE], effect_id[ID_SIZE]; /* effect_id: "" without a key */
    char task[65], caller[OWNER_SIZE], owner[OWNER_SIZE];
};

static void fail_retry(struct request *request, const struct retry *retry, const struct queue_answer *answer)
{
    static const struct {
        enum queue_code code;
        enum task_refusal refusal;
    } rows[] = {{QUEUE_USER_LIMIT, TASK_USER_LIMIT},
                {QUEUE_GLOBAL_LIMIT, TASK_GLOBAL_LIMIT},
                {QUEUE_QUOTA, TASK_QUOTA}};
    struct task_reply refused = {
        .type = retry->type, .retry_ms = answer->retry_ms, .used = answer->used, .most = answer->most};
    for (size_t i = 0; i < NELEMS(rows); i++)
        if (rows[i].code == answer->code)
            refused.refusal = rows[i].refusal;
    if (!reply_refused(request, &refused))
        fail_queue(request, answer->code);
}

static bool is_own(const struct retry *retry)
{
    return strcmp(retry->owner, retry->caller) == 0;
}

static struct event_text accepted_of(const struct retry *retry, const struct queue_answer *answer)
{
    return (struct event_text){.code = 'A',
                               .at_ms = answer->at_ms,
                               .id = span_of(retry->new_id),
                               .task = span_of(retry->task),
                               .owner = span_of(retry->owner)};
}

/* {"task_id","status","retry_of","seq"?,"mark"?,"duplicate"?} */
static struct span retry_result(struct request *request, const struct retry *retry,
                                const struct queue_answer *answer)
{
    struct buf *result = request_result(request);
    buf_printf(result, "{\"task_id\":\"%s\",\"status\":\"%s\",\"retry_of\":\"%s\"", answer->id,
               answer->status, retry->id);
    if (is_own(retry)) /* an admin's retry of another user's task is in that user's log */
        buf_printf(result, ",\"seq\":%llu", (unsigned long long)answer->seq);
    const struct event_text accepted = accepted_of(retry, answer);
    if (is_own(retry) && answer->code == QUEUE_OK)
        event_mark_member(result, event_text_mark(&accepted));
    buf_append_text(result, answer->code == QUEUE_DUPLICATE ? ",\"duplicate\":true}" : "}");
    return buf_span(result);
}

/* Answers a retry that made no task. */
static void reply_not_retried(struct request *request, const struct retry *retry,
                              const struct queue_answer *answer)
{
    if (is_own(retry))
        owners_release(request->app->owners, retry->new_id);
    if (answer->code == QUEUE_DUPLICATE)
        request_reply(request, retry_result(request, retry, answer));
    else
        fail_retry(request, retry, answer);
}

static void on_retried(void *ctx, const struct queue_answer *answer)
{
    struct retry *retry = ctx;
    struct request *request = retry->request;
    bool own = is_own(retry);
    if (answer->code != QUEUE_OK) {
        reply_not_retried(request, retry, answer);
        free(retry);
        return;
    }
    const struct event_text accepted = accepted_of(retry, answer);
    struct event *event = event_text_build(&accepted, answer->seq, 0);
    const struct owner_news news = {.owner = retry->owner,
                                    .task_id = retry->new_id,
                                    .event = event,
                                    .seq = own ? answer->seq : 0,
                                    .held = own};
    request_reply_then(request, retry_result(request, retry, answer), &news);
    event_unref(&event);
    free(retry);
}

/* Whether the caller may submit a task of this type; false and answered if not. Redis checks whom its
 * arguments name. */
static bool may_retry(struct request *request, const char *task, const struct task_type *type)
{
    const struct principal *who = request_who(request);
    bool in_token = principal_may_submit(who, task);
    if (in_token && !(type && type->admin && !(who->roles & ROLE_ADMIN)))
        return true;
    request_fail(request, &(struct request_error){.code = RPC_FORBIDDEN,
                                                  .word = in_token ? "role_missing" : "task_not_allowed",
                                                  .field = "task_id"});
    return false;
}

/* Goes on once the task is known: a retry is a submission and has the same requirements. */
static void on_retry_found(void *ctx, const struct queue_answer *answer)
{
    struct retry *retry = ctx;
    struct request *request = retry->request;
    struct app *app = request->app;
    if (answer->code != QUEUE_OK || request_who(request) == NULL) {
        fail_queue(request, answer->code == QUEUE_OK ? QUEUE_UNAVAILABLE : answer->code);
        free(retry);
        return;
    }
    bool readable = json_string_copy(json_get(answer->json, "task"), retry->task, sizeof retry->task) &&
                    owner_of_json(json_get(answer->json, "user_id"), retry->owner);
    retry->type = readable ? task_type_find(retry->task) : NULL;
    if (!readable || !may_retry(request, retry->task, retry->type)) {
        if (!readable)
            request_fail(request, &(struct request_error){.code = RPC_INTERNAL});
        free(retry);
        return;
    }
    struct queue_caller caller = caller_of(request);
    shard_task_id(retry->new_id, span_of(retry->owner));
    if (is_own(retry)) {
        caller.any_read = caller.any_write = false;
        owners_hold(app->owners, retry->caller, retry->new_id);
    } else {
        log_admin_act(request, retry->id);
    }
    bool names_any = retry->type == NULL || request_who(request)->roles & ROLE_ADMIN;
    const struct queue_retry call = {.id = retry->id,
                                     .new_id = retry->new_id,
                                     .own_arg = names_any ? NULL : retry->type->owner_arg,
                                     .effect_id = retry->effect_id[0] ? retry->effect_id : NULL};
    queue_retry(app->queue, &caller, &call, on_retried, retry);
}

void run_task_retry(struct request *request, const struct span *values)
{
    char text[KEY_SIZE];
    struct span key;
    struct retry *retry = xcalloc(1, sizeof *retry);
    if (!take_task_id(request, values[0], retry->id) || !take_key(request, values[1], text, &key)) {
        free(retry);
        return;
    }
    struct queue_caller caller = caller_of(request);
    caller.any_read = caller.any_write; /* reading others' tasks is not enough */
    if (key.n)
        queue_effect_id(retry->effect_id, caller.owner, key);
    retry->request = request;
    memcpy(retry->caller, caller.owner, strlen(caller.owner) + 1);
    queue_get(request->app->queue, &caller, retry->id, on_retry_found, retry);
}

/* ---- lists ---- */

struct list_text { /* decoded parameters of a list; the filter points into it */
    char status[12], task[65], cursor[257], owner[OWNER_SIZE];
};

/* Checks "score-id", as given by an earlier page; false and answered if malformed. */
static bool take_cursor(struct request *request, const char *cursor)
{
    size_t digits = cursor ? strspn(cursor, "0123456789") : 0;
    if (cursor == NULL ||
        (digits && digits < 17 && cursor[digits] == '-' && id_valid(span_of(cursor + digits + 1))))
        return true;
    fail_param(request, "cursor", "is not one that a page gave");
    return false;
}

/* Reads a time parameter, -1 if absent; false and answered if malformed. */
static bool take_time(struct request *request, const char *name, struct span value, int64_t *ret)
{
    char text[40];
    *ret = -1;
    if (value.p == NULL)
        return true;
    if (json_string_copy(value, text, sizeof text) && (*ret = clock_parse(text, strlen(text))) >= 0)
        return true;
    fail_param(request, name, "must be a time like 2026-01-31T10:20:30Z");
    return false;
}

static bool take_filter(struct request *request, const struct span *values, struct list_text *text,
                        struct queue_filter *ret)
{
    *ret = (struct queue_filter){
        .status = text_of(values[0], text->status, sizeof text->status),
        .task = text_of(values[1], text->task, sizeof text->task),
        .cursor = text_of(values[4], text->cursor, sizeof text->cursor),
        .limit = (unsigned)number_or(values[5], LIST_DEFAULT),
    };
    return take_cursor(request, ret->cursor) && take_time(request, "since", values[2], &ret->since_ms) &&
           take_time(request, "until", values[3], &ret->until_ms);
}

void run_task_list(struct request *request, const struct span *values)
{
    struct list_text text;
    struct queue_filter filter;
    if (!take_filter(request, values, &text, &filter))
        return;
    filter.owner = filter.asker = request_who(request)->user_id;
    queue_list(request->app->queue, &filter, reply_answer, request);
}

void run_admin_tasks(struct request *request, const struct span *values)
{
    struct list_text text;
    struct queue_filter filter;
    if (!take_filter(request, values, &text, &filter))
        return;
    if (values[6].p && !owner_of_json(values[6], text.owner)) {
        fail_param(request, "user_id", "must be an owner's id");
        return;
    }
    filter.owner = values[6].p ? text.owner : NULL;
    if (filter.owner == NULL || strcmp(filter.owner, request_who(request)->user_id) != 0)
        log_admin_act(request, NULL);
    filter.asker = request_who(request)->user_id;
    queue_list(request->app->queue, &filter, reply_answer, request);
}
