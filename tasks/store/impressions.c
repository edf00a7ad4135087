/* SPDX-License-Identifier: MIT */
/* Impressions in SQL; see impressions.h. Any thread with a database of its own; never touches Redis. */
#include "tasks/store/impressions.h"

/* How long a batch's id is remembered. One still in Redis is never forgotten, however old: only adding a
 * newer batch forgets, and Redis makes a newer one only after the older was dropped. */
#define BATCH_MEMORY_MS (7LL * 86400 * 1000)

static int add_one(struct db *db, const char *key, int64_t count, int64_t now_ms)
{
    struct span kind = span_of(key), resource = span_cut(&kind, ' ');
    return db_run(
        db_query(db,
                 "INSERT INTO impressions (resource_id, kind, count, updated_at) VALUES (?, ?, ?, ?) "
                 "ON CONFLICT (resource_id, kind) DO UPDATE SET count = impressions.count + excluded.count, "
                 "updated_at = excluded.updated_at",
                 "ssll", resource, kind.p ? kind : SPAN("view"), count, now_ms));
}

static int add_all(struct db *db, json_t *counts, int64_t now_ms, int64_t *ret_count)
{
    for (void *at = json_object_iter(counts); at; at = json_object_iter_next(counts, at)) {
        int64_t count = json_integer_value(json_object_iter_value(at));
        if (add_one(db, json_object_iter_key(at), count, now_ms) != 0)
            return -1;
        *ret_count += count;
    }
    return 0;
}

/* Does nothing if the batch was added before. */
static int add_batch(struct db *db, struct span batch_id, json_t *counts, int64_t now_ms, int64_t *ret_count)
{
    if (db_run(db_query(
            db, "INSERT INTO impression_batches (id, applied_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING",
            "sl", batch_id, now_ms)) != 0)
        return -1;
    if (db_changes(db) == 0)
        return 0;
    if (add_all(db, counts, now_ms, ret_count) != 0)
        return -1;
    return db_run(db_query(db, "DELETE FROM impression_batches WHERE applied_at < ? AND id <> ?", "ls",
                           (int64_t)(now_ms - BATCH_MEMORY_MS), batch_id));
}

int impressions_add(struct db *db, struct span batch_id, json_t *counts, int64_t now_ms, int64_t *ret_count)
{
    *ret_count = 0;
    return db_begin(db) == 0 ? db_end(db, add_batch(db, batch_id, counts, now_ms, ret_count)) : -1;
}

int impressions_resources(struct db *db, int64_t now_ms, int64_t *ret)
{
    return db_one(db_query(db, "SELECT count(DISTINCT resource_id) FROM impressions WHERE updated_at >= ?",
                           "l", now_ms),
                  ret);
}
