/* SPDX-License-Identifier: MIT */
/* Notifications of a user. Any thread with a database of its own. Every function returns 0, or -1 and
 * db_error(). Times are milliseconds since 1970. */
#pragma once

#include "hub/sql/db.h"

#include <jansson.h>
#include <stdbool.h>

#define NOTIFICATIONS_KEPT 1000 /* per user; the oldest go first */
#define NOTIFICATIONS_PAGE 50

struct notification {
    struct span id, user, title, body, link; /* link may be SPAN_NONE */
    int64_t created_ms;
};
/* Stores a notification, once per id, and deletes those beyond NOTIFICATIONS_KEPT. *ret_created_ms: when
 * it was first stored. */
int notifications_add(struct db *db, const struct notification *notification,
                      int64_t *ret_created_ms) MUSTCHECK;
/* *ret: how many the user has not read. */
int notifications_unread(struct db *db, struct span user, int64_t *ret) MUSTCHECK;
/* *ret (json_decref()): the page after `cursor` ("" = the newest), newest first, as
 * {"notifications":[{id,title,body,link?,at,read}…],"next_cursor"?}. *ret_bad_cursor: -1 was returned
 * because the cursor is malformed. */
int notifications_list(struct db *db, struct span user, const char *cursor, bool unread_only, json_t **ret,
                       bool *ret_bad_cursor) MUSTCHECK;
/* Marks one of the user's notifications as read; an unknown id changes nothing. */
int notifications_mark_read(struct db *db, struct span user, struct span id, int64_t now_ms) MUSTCHECK;
