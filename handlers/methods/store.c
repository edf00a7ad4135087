/* SPDX-License-Identifier: MIT */
/* notification.*, impression.record and rating.submit: domain data. Loop thread; SQL runs on the pool. */
#include "handlers/methods/methods.h"
#include "handlers/rpc/reply.h"
#include "hub/base/log.h"
#include "tasks/queue/usage.h"
#include "tasks/store/unlisted.h"

#include <stdio.h>

#define INTERNAL_RETRY_MS 1000 /* how long a client waits before it asks for the database again */

/* ---- the database ---- */

static void reply_internal(void *ctx, bool failed, const char *error_code, struct span result)
{
    struct request *request = ctx;
    struct json_field_error fault;
    bool absent = failed && strcmp(error_code, "not_found") == 0;
    if (!failed) {
        request_reply(request, result);
    } else if (strcmp(error_code, "busy") == 0) {
        request_fail(request, &(struct request_error){.code = RPC_BUSY, .retry_ms = INTERNAL_RETRY_MS});
    } else if (strcmp(error_code, "idempotency_mismatch") == 0) {
        fail_queue(request, QUEUE_MISMATCH);
    } else if (strcmp(error_code, "params") ==
               0) { /* "field: …": a fault that only the database could find */
        snprintf(fault.message, sizeof fault.message, "%.*s", SPAN_ARG(result));
        snprintf(fault.field, sizeof fault.field, "%.*s", (int)strcspn(fault.message, ":"), fault.message);
        fail_field(request, &fault);
    } else {
        log_warn("a request that needs the database failed", "method", request->handler->method, "code",
                 error_code);
        request_fail(request, &(struct request_error){.code = absent ? RPC_NOT_FOUND : RPC_INTERNAL,
                                                      .word = absent ? NULL : error_code});
    }
}

/* Runs a request that needs SQL (tasks/store/unlisted.h) with its params unchanged; answers with the
 * result, or why there is none. */
static void run_internal(struct request *request, const struct task_type *type)
{
    struct task_reply reply = {.type = type, .retry_ms = INTERNAL_RETRY_MS};
    reply.refusal =
        manager_run_internal(request->app->manager, type, request_who(request)->user_id,
                             request->params.p ? request->params : SPAN("{}"), reply_internal, request);
    reply_refused(request, &reply);
}

/* ---- notifications ---- */

void run_notification_list(struct request *request, const struct span *values)
{
    (void)values;
    run_internal(request, &store_notification_list);
}

void run_notification_read(struct request *request, const struct span *values)
{
    char text[KEY_SIZE];
    struct span key;
    struct json_iter iter = json_walk(values[0]);
    struct span id;
    while (json_next_element(&iter, &id)) {
        if (json_kind_of(id) != KIND_STRING || id.n > 130) {
            fail_param(request, "ids", "must be a list of notification ids");
            return;
        }
    }
    if (take_key(request, values[1], text, &key))
        run_internal(request, &store_notification_read);
}

/* ---- impressions and ratings ---- */

/* Decodes a word fit for keys and records (printable ASCII); false and answered if it is not. */
static bool take_word(struct request *request, const char *field, struct span value, char *to, size_t size)
{
    bool fits = json_string_copy(value, to, size);
    for (const char *p = to; fits && *p; p++)
        fits = *p > ' ' && *p <= '~';
    if (!fits)
        fail_param(request, field, "must be printable ASCII without spaces");
    return fits;
}

void run_impression_record(struct request *request, const struct span *values)
{
    char resource[129], kind[33], text[KEY_SIZE], effect_id[ID_SIZE];
    struct span key;
    if (!take_word(request, "resource_id", values[0], resource, sizeof resource) ||
        (values[1].p && !take_word(request, "kind", values[1], kind, sizeof kind)) ||
        !take_key(request, values[2], text, &key))
        return;
    if (key.n)
        queue_effect_id(effect_id, request_who(request)->user_id, key);
    usage_impression(request->app->queue, resource, values[1].p ? kind : NULL, key.n ? effect_id : NULL,
                     reply_done, request);
}

void run_rating_submit(struct request *request, const struct span *values)
{
    char resource[129], text[KEY_SIZE];
    struct span key;
    if (take_word(request, "resource_id", values[0], resource, sizeof resource) &&
        take_key(request, values[2], text, &key))
        run_internal(request, &store_rating_submit);
}
