/* SPDX-License-Identifier: MIT */
/* Type send_notification: stores a notification and pushes it to all sockets of its user. Safe to run
 * twice: the notification's id is derived from the effect id. */
#include "hub/auth/principal.h"
#include "hub/base/clock.h"
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"
#include "tasks/store/notifications.h"

enum { ARG_USER, ARG_TITLE, ARG_BODY, ARG_LINK };
static const struct json_field args[] = {
    [ARG_USER] = {.name = "user_id", .kinds = KIND_STRING, .min = 1, .max = USER_ID_MAX},
    [ARG_TITLE] = {.name = "title", .kinds = KIND_STRING, .required = true, .min = 1, .max = 200},
    [ARG_BODY] = {.name = "body", .kinds = KIND_STRING, .required = true, .min = 1, .max = 4000},
    [ARG_LINK] = {.name = "link", .kinds = KIND_STRING, .min = 1, .max = 2000},
};

/* Whether a page may put the link into href: never javascript: and the like. */
static bool is_link(const char *link)
{
    for (const char *p = link; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == '\\' || *p == 127)
            return false;
    return strncmp(link, "https://", 8) == 0 || strncmp(link, "http://", 7) == 0 ||
           (link[0] == '/' && link[1] != '/');
}

static bool check(const struct span *values, struct json_field_error *ret_error)
{
    char owner[OWNER_SIZE], link[2001];
    if (values[ARG_USER].p && !owner_of_json(values[ARG_USER], owner))
        return json_refuse(ret_error, SPAN("user_id"), "must be an owner id");
    if (values[ARG_LINK].p && (!json_string_copy(values[ARG_LINK], link, sizeof link) || !is_link(link)))
        return json_refuse(ret_error, SPAN("link"), "must begin with https://, http:// or /");
    return true;
}

/* The arguments of the service `notify`: the user and the params of the notification. */
static json_t *message(struct task_ctx *ctx, const char *user, int64_t created_ms)
{
    char at[CLOCK_TEXT_SIZE];
    clock_format(created_ms, at);
    return json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s}", "user_id", user, "id", task_effect_id(ctx), "title",
                     task_arg_text(ctx, "title"), "body", task_arg_text(ctx, "body"), "link",
                     task_arg_text(ctx, "link"), "at", at);
}

static void run(struct task_ctx *ctx)
{
    char owner[OWNER_SIZE], user[USER_ID_MAX + 1];
    const char *named = task_arg_text(ctx, "user_id");
    bool other = named && owner_encode(span_of(named), owner); /* check() made sure that it can be encoded */
    struct notification notification = {
        .id = span_of(task_effect_id(ctx)),
        .user = span_of(other ? owner : task_owner(ctx)),
        .title = span_of(task_arg_text(ctx, "title")),
        .body = span_of(task_arg_text(ctx, "body")),
        .link = span_of(task_arg_text(ctx, "link")),
        .created_ms = clock_wall_ms(),
    };
    int64_t created_ms, unread;
    struct db *db = task_db(ctx);
    if (db == NULL)
        return;
    owner_decode(notification.user, user);
    task_progress(ctx, 10, "sending", NULL);
    if (notifications_add(db, &notification, &created_ms) != 0 ||
        notifications_unread(db, notification.user, &unread) != 0) {
        task_fail_db(ctx, db);
        return;
    }
    json_t *answer = task_call(ctx, "notify", message(ctx, user, created_ms));
    if (answer == NULL) {
        task_fail(ctx, (struct task_error){"unavailable", true},
                  "the notification is stored but was not pushed");
        return;
    }
    json_decref(answer);
    task_finish(ctx, json_pack("{s:s, s:b, s:I}", "notification_id", task_effect_id(ctx), "delivered", 1,
                               "unread", (json_int_t)unread));
}

const struct task_type task_type_send_notification = {
    .name = "send_notification",
    .title = "Stores a notification and pushes it to its user",
    .kind = TASK_LIGHT,
    .repeatable = true,
    .owner_arg = "user_id",
    .args = args,
    .arg_count = NELEMS(args),
    .check = check,
    .run = run,
};
