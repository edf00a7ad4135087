/* SPDX-License-Identifier: MIT */
/* Idempotency keys in SQL; see request_keys.h. Any thread with a database of its own; never opens a
 * transaction. */
#include "tasks/store/request_keys.h"

#define KEPT_MS INT64_C(172800000)

static int compare(struct db *db, struct span user, struct span key, struct span request,
                   enum request_key *ret)
{
    int64_t same;
    if (db_one(db_query(db, "SELECT count(*) FROM request_keys WHERE user_id = ? AND key = ? AND request = ?",
                        "sss", user, key, request),
               &same) != 0)
        return -1;
    *ret = same ? REQUEST_DONE : REQUEST_OTHER;
    return 0;
}

int request_key_take(struct db *db, struct span user, struct span key, struct span request, int64_t now_ms,
                     enum request_key *ret)
{
    *ret = REQUEST_NEW;
    if (db_run(db_query(db, "DELETE FROM request_keys WHERE used_at < ?", "l", now_ms - KEPT_MS)) != 0)
        return -1;
    if (db_run(db_query(db,
                        "INSERT INTO request_keys (user_id, key, request, used_at) VALUES (?, ?, ?, ?) "
                        "ON CONFLICT (user_id, key) DO NOTHING",
                        "sssl", user, key, request, now_ms)) != 0)
        return -1;
    return db_changes(db) ? 0 : compare(db, user, key, request, ret);
}
