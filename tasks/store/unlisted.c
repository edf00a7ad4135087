/* SPDX-License-Identifier: MIT */
/* Light types that nobody may submit; see unlisted.h. The dispatch table of the methods has checked their
 * arguments. */
#include "tasks/store/unlisted.h"

#include "hub/base/clock.h"
#include "tasks/model/ctx.h"
#include "tasks/store/notifications.h"
#include "tasks/store/ratings.h"

static void run_rating_submit(struct task_ctx *ctx)
{
    struct db *db = task_db(ctx);
    const char *resource = task_arg_text(ctx, "resource_id");
    int stars = (int)task_arg_int(ctx, "stars", 0);
    if (db == NULL)
        return;
    if (ratings_vote(db, span_of(resource), span_of(task_owner(ctx)), stars, clock_wall_ms()) != 0)
        task_fail_db(ctx, db);
    else
        task_finish(ctx, json_pack("{s:b}", "ok", 1));
}

/* Adds the unread count and ends the request. Takes `result`. */
static void finish_unread(struct task_ctx *ctx, struct db *db, json_t *result)
{
    int64_t unread;
    if (notifications_unread(db, span_of(task_owner(ctx)), &unread) != 0) {
        json_decref(result);
        task_fail_db(ctx, db);
        return;
    }
    json_object_set_new(result, "unread", json_integer(unread));
    task_finish(ctx, result);
}

static void run_notification_list(struct task_ctx *ctx)
{
    struct db *db = task_db(ctx);
    const char *cursor = task_arg_text(ctx, "cursor");
    bool unread_only = json_is_true(json_object_get(task_args(ctx), "unread")), bad_cursor = false;
    json_t *page = NULL;
    if (db == NULL)
        return;
    if (notifications_list(db, span_of(task_owner(ctx)), cursor ? cursor : "", unread_only, &page,
                           &bad_cursor) == 0) {
        finish_unread(ctx, db, page);
    } else if (bad_cursor) {
        task_fail(ctx, (struct task_error){"params", false}, "cursor: must come from next_cursor");
    } else {
        task_fail_db(ctx, db);
    }
}

static void run_notification_read(struct task_ctx *ctx)
{
    struct db *db = task_db(ctx);
    json_t *id;
    size_t i;
    if (db == NULL)
        return;
    json_array_foreach(json_object_get(task_args(ctx), "ids"), i, id)
    {
        struct span text = {json_string_value(id), json_string_length(id)};
        if (notifications_mark_read(db, span_of(task_owner(ctx)), text, clock_wall_ms()) != 0) {
            task_fail_db(ctx, db);
            return;
        }
    }
    finish_unread(ctx, db, json_pack("{s:[]}", "notifications"));
}

const struct task_type store_rating_submit = {.name = "store.rating_submit",
                                              .title = "rating.submit",
                                              .kind = TASK_LIGHT,
                                              .lane = LIGHT_REQUEST,
                                              .run = run_rating_submit};
const struct task_type store_notification_list = {.name = "store.notification_list",
                                                  .title = "notification.list",
                                                  .kind = TASK_LIGHT,
                                                  .lane = LIGHT_REQUEST,
                                                  .run = run_notification_list};
const struct task_type store_notification_read = {.name = "store.notification_read",
                                                  .title = "notification.read",
                                                  .kind = TASK_LIGHT,
                                                  .lane = LIGHT_REQUEST,
                                                  .run = run_notification_read};
