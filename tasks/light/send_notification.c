/* SPDX-License-Identifier: MIT */
/* Type send_notification: stores a notification and pushes it to all sockets of its user. Safe to run
 * twice: the notification's id is the effect's. */
#include "hub/auth/auth.h"
#include "hub/base/clock.h"
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"
#include "tasks/store/notifications.h"

#include <stdio.h>

enum { ARG_USER, ARG_TITLE, ARG_BODY, ARG_LINK };
static const struct json_field args[] = {
    [ARG_USER] = {.name = "user_id", .kinds = KIND_STRING, .min = 1, .max = USER_ID_MAX},
    [ARG_TITLE] = {.name = "title", .kinds = KIND_STRING, .required = true, .min = 1, .max = 200},
    [ARG_BODY] = {.name = "body", .kinds = KIND_STRING, .required = true, .min = 1, .max = 4000},
    [ARG_LINK] = {.name = "link", .kinds = KIND_STRING, .min = 1, .max = 2000},
};

static bool refuse(struct json_field_error *error, const char *field, const char *expected)
{
    snprintf(error->field, sizeof error->field, "%s", field);
    snprintf(error->message, sizeof error->message, "%s: %s", field, expected);
    return false;
}

/* A link that a page may put into href: never javascript: and the like. */
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
    char user[USER_ID_MAX + 1], link[2001];
    if (values[ARG_USER].p &&
        (!json_string_copy(values[ARG_USER], user, sizeof user) || !auth_user_id_valid(span_of(user))))
        return refuse(ret_error, "user_id", "must be an owner id");
    if (values[ARG_LINK].p && (!json_string_copy(values[ARG_LINK], link, sizeof link) || !is_link(link)))
        return refuse(ret_error, "link", "must begin with https://, http:// or /");
    return true;
}

static void set_text(json_t *object, const char *name, const char *text)
{
    if (text)
        json_object_set_new(object, name, json_string(text));
}

/* What the service `notify` wants: the user and the params of the notification. */
static json_t *message(struct task_ctx *ctx, const char *user, int64_t created_ms)
{
    char at[CLOCK_TEXT_SIZE];
    clock_format(created_ms, at);
    json_t *body = json_object();
    set_text(body, "user_id", user);
    set_text(body, "id", task_effect_id(ctx));
    set_text(body, "title", task_arg_text(ctx, "title"));
    set_text(body, "body", task_arg_text(ctx, "body"));
    set_text(body, "link", task_arg_text(ctx, "link"));
    set_text(body, "at", at);
    return body;
}

static void run(struct task_ctx *ctx)
{
    const struct task_error database = {"database", true};
    const char *user = task_arg_text(ctx, "user_id");
    struct notification notification = {
        .id = span_of(task_effect_id(ctx)),
        .user = span_of(user ? user : task_owner(ctx)),
        .title = span_of(task_arg_text(ctx, "title")),
        .body = span_of(task_arg_text(ctx, "body")),
        .link = span_of(task_arg_text(ctx, "link")),
        .created_ms = clock_wall_ms(),
    };
    int64_t created_ms, unread;
    struct db *db = task_db(ctx);
    if (db == NULL) {
        task_fail(ctx, database, "the database cannot be opened");
        return;
    }
    task_progress(ctx, 10, "sending", NULL);
    if (notifications_add(db, &notification, &created_ms) != 0 ||
        notifications_unread(db, notification.user, &unread) != 0) {
        task_fail(ctx, database, "%s", db_error(db));
        return;
    }
    json_t *answer = task_call(ctx, "notify", message(ctx, notification.user.p, created_ms));
    if (answer == NULL) {
        task_fail(ctx, (struct task_error){"unavailable", true},
                  "the notification is stored but was not pushed");
        return;
    }
    json_decref(answer);
    json_t *result = json_object();
    json_object_set_new(result, "notification_id", json_string(task_effect_id(ctx)));
    json_object_set_new(result, "delivered", json_true());
    json_object_set_new(result, "unread", json_integer(unread));
    task_finish(ctx, result);
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
