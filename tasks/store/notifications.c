/* SPDX-License-Identifier: MIT */
/* Notifications in SQL; see notifications.h. Any thread with a database of its own; never pushes to
 * sockets. */
#include "tasks/store/notifications.h"

#include "hub/base/clock.h"
#include "hub/base/digits.h"

#include <stdio.h>

static int add(struct db *db, const struct notification *n, int64_t *ret_created_ms)
{
    if (db_run(db_query(db,
                        "INSERT INTO notifications (id, user_id, title, body, link, created_at) "
                        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                        "sssssl", n->id, n->user, n->title, n->body, n->link, n->created_ms)) != 0)
        return -1;
    if (db_one(db_query(db, "SELECT created_at FROM notifications WHERE id = ?", "s", n->id),
               ret_created_ms) != 0)
        return -1;
    return db_run(
        db_query(db, /* deletes those beyond NOTIFICATIONS_KEPT */
                 "DELETE FROM notifications WHERE user_id = ? AND id IN (SELECT id FROM notifications "
                 "WHERE user_id = ? ORDER BY created_at DESC, id DESC LIMIT 1000000 OFFSET ?)",
                 "ssi", n->user, n->user, NOTIFICATIONS_KEPT));
}

int notifications_add(struct db *db, const struct notification *notification, int64_t *ret_created_ms)
{
    return db_begin(db) == 0 ? db_end(db, add(db, notification, ret_created_ms)) : -1;
}

int notifications_unread(struct db *db, struct span user, int64_t *ret)
{
    return db_one(
        db_query(db, "SELECT count(*) FROM notifications WHERE user_id = ? AND read_at IS NULL", "s", user),
        ret);
}

static json_t *json_text(struct span text)
{
    return text.p ? json_stringn(text.p, text.n) : NULL;
}

static json_t *row_object(struct db_query *query)
{
    char at[CLOCK_TEXT_SIZE];
    clock_format(db_int(query, 4), at);
    return json_pack("{s:o, s:o, s:o, s:o*, s:s, s:b}", "id", json_text(db_text(query, 0)), "title",
                     json_text(db_text(query, 1)), "body", json_text(db_text(query, 2)), "link",
                     json_text(db_text(query, 3)), "at", at, "read", db_int(query, 5) != 0);
}

struct cursor { /* the last row of the page before */
    int64_t created_ms;
    struct span id;
};

/* Parses "<created>:<id>"; empty means the newest. */
static bool cursor_parse(const char *text, struct cursor *cursor)
{
    struct span id = span_of(text), created = span_cut(&id, ':');
    *cursor = (struct cursor){INT64_MAX, id.p ? id : SPAN("")};
    return *text == '\0' || (id.p && created.p[0] != '-' && digits_int(created, &cursor->created_ms));
}

int notifications_list(struct db *db, struct span user, const char *cursor, bool unread_only, json_t **ret,
                       bool *ret_bad_cursor)
{
    struct cursor from;
    char next[160] = "";
    *ret_bad_cursor = !cursor_parse(cursor, &from);
    if (*ret_bad_cursor)
        return -1;
    struct db_query *query = db_query(
        db,
        "SELECT id, title, body, link, created_at, read_at FROM notifications WHERE user_id = ? AND "
        "(created_at < ? OR (created_at = ? AND id < ?)) AND (? = 0 OR read_at IS NULL) "
        "ORDER BY created_at DESC, id DESC LIMIT ?",
        "sllsii", user, from.created_ms, from.created_ms, from.id, unread_only, NOTIFICATIONS_PAGE + 1);
    json_t *rows = json_array();
    int row;
    while ((row = db_step(query)) == 1 && json_array_size(rows) < NOTIFICATIONS_PAGE) {
        struct span id = db_text(query, 0);
        snprintf(next, sizeof next, "%lld:%.*s", (long long)db_int(query, 4), SPAN_ARG(id));
        json_array_append_new(rows, row_object(query));
    }
    db_done(query);
    *ret = json_object();
    json_object_set_new(*ret, "notifications", rows);
    if (row == 1) /* there is another page */
        json_object_set_new(*ret, "next_cursor", json_string(next));
    if (row < 0)
        json_decref(*ret);
    return row < 0 ? -1 : 0;
}

int notifications_mark_read(struct db *db, struct span user, struct span id, int64_t now_ms)
{
    return db_run(
        db_query(db, "UPDATE notifications SET read_at = ? WHERE id = ? AND user_id = ? AND read_at IS NULL",
                 "lss", now_ms, id, user));
}
