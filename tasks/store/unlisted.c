/* SPDX-License-Identifier: MIT */
/* Light types that nobody may submit; see unlisted.h. Their arguments were checked by the methods'
 * dispatch table. On a pool thread; never touches Redis. */
#include "tasks/store/unlisted.h"

#include "hub/base/clock.h"
#include "tasks/model/ctx.h"
#include "tasks/store/notifications.h"
#include "tasks/store/ratings.h"
#include "tasks/store/request_keys.h"

#include <sodium.h>

/* ---- what is written once per idempotency key ---- */

#define REQUEST_BYTES 16

/* Names the complete request, regardless of the order of members, by a digest in hexadecimal digits. */
static void name_request(struct task_ctx *ctx, const char *method, char to[static 2 * REQUEST_BYTES + 1])
{
    unsigned char hash[REQUEST_BYTES];
    char *args = json_dumps(task_args(ctx), JSON_COMPACT | JSON_SORT_KEYS);
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, (const unsigned char *)method, strlen(method) + 1);
    crypto_generichash_update(&state, (const unsigned char *)args, strlen(args));
    crypto_generichash_final(&state, hash, sizeof hash);
    sodium_bin2hex(to, 2 * REQUEST_BYTES + 1, hash, sizeof hash);
    free(args);
}

static int take_key(struct task_ctx *ctx, struct db *db, const char *method, enum request_key *ret)
{
    char request[2 * REQUEST_BYTES + 1];
    const char *key = task_arg_text(ctx, "idempotency_key");
    *ret = REQUEST_NEW;
    if (key == NULL)
        return 0;
    name_request(ctx, method, request);
    return request_key_take(db, span_of(task_owner(ctx)), span_of(key), span_of(request), clock_wall_ms(),
                            ret);
}

/* Writes in one transaction with the key, unless the key tells that it was done before. `result` (taken)
 * is the answer to a new request so far; NULL: the request has failed. */
static json_t *write_once(struct task_ctx *ctx, struct db *db, const char *method,
                          int (*write)(struct task_ctx *ctx, struct db *db), json_t *result)
{
    enum request_key key = REQUEST_NEW;
    int rc = db_begin(db);
    if (rc == 0) {
        rc = take_key(ctx, db, method, &key);
        rc = db_end(db, rc == 0 && key == REQUEST_NEW ? write(ctx, db) : rc);
    }
    if (rc != 0)
        task_fail_db(ctx, db);
    else if (key == REQUEST_OTHER)
        task_fail(ctx, (struct task_error){"idempotency_mismatch", false},
                  "the key stands for something else");
    else if (key == REQUEST_DONE)
        json_object_set_new(result, "duplicate", json_true());
    if (rc == 0 && key != REQUEST_OTHER)
        return result;
    json_decref(result);
    return NULL;
}

/* ---- ratings ---- */

static int write_vote(struct task_ctx *ctx, struct db *db)
{
    return ratings_vote(db, span_of(task_arg_text(ctx, "resource_id")), span_of(task_owner(ctx)),
                        (int)task_arg_int(ctx, "stars", 0), clock_wall_ms());
}

static void run_rating_submit(struct task_ctx *ctx)
{
    struct db *db = task_db(ctx);
    json_t *done = db ? write_once(ctx, db, "rating.submit", write_vote, json_pack("{s:b}", "ok", 1)) : NULL;
    if (done)
        task_finish(ctx, done);
}

/* ---- notifications ---- */

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

static int write_read(struct task_ctx *ctx, struct db *db)
{
    json_t *id;
    size_t i;
    json_array_foreach(json_object_get(task_args(ctx), "ids"), i, id)
    {
        struct span text = {json_string_value(id), json_string_length(id)};
        if (notifications_mark_read(db, span_of(task_owner(ctx)), text, clock_wall_ms()) != 0)
            return -1;
    }
    return 0;
}

static void run_notification_read(struct task_ctx *ctx)
{
    struct db *db = task_db(ctx);
    json_t *done =
        db ? write_once(ctx, db, "notification.read", write_read, json_pack("{s:[]}", "notifications"))
           : NULL;
    if (done)
        finish_unread(ctx, db, done);
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
