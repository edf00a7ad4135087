/* Impressions in SQL; see impressions.h. */
#include "tasks/store/impressions.h"

/* Batches are remembered for so long; one that is still in Redis is never that old and forgotten, because
 * only adding a newer batch forgets, and a newer one exists only after the older was dropped there. */
#define BATCH_MEMORY_MS (7LL * 86400 * 1000)

/* 1 = the batch is new and now remembered, 0 = it stands already. */
static int remember(struct db *db, struct span batch_id, int64_t now_ms)
{
    struct db_query *query = db_query(db, "INSERT INTO impression_batches (id, applied_at) VALUES (?, ?) "
                                          "ON CONFLICT (id) DO NOTHING");
    if (query == NULL)
        return -1;
    db_bind_text(query, 1, batch_id);
    db_bind_int(query, 2, now_ms);
    if (db_run(query) != 0)
        return -1;
    return db_changes(db) == 1;
}

static int forget_old(struct db *db, struct span batch_id, int64_t now_ms)
{
    struct db_query *query = db_query(db, "DELETE FROM impression_batches WHERE applied_at < ? AND id <> ?");
    if (query == NULL)
        return -1;
    db_bind_int(query, 1, now_ms - BATCH_MEMORY_MS);
    db_bind_text(query, 2, batch_id);
    return db_run(query);
}

static int add_one(struct db *db, const char *key, int64_t count, int64_t now_ms)
{
    const char *space = strchr(key, ' ');
    struct db_query *query = db_query(
        db, "INSERT INTO impressions (resource_id, kind, count, updated_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (resource_id, kind) DO UPDATE SET count = impressions.count + excluded.count, "
            "updated_at = excluded.updated_at");
    if (query == NULL)
        return -1;
    db_bind_text(query, 1, (struct span){key, space ? (size_t)(space - key) : strlen(key)});
    db_bind_text(query, 2, span_of(space ? space + 1 : "view"));
    db_bind_int(query, 3, count);
    db_bind_int(query, 4, now_ms);
    return db_run(query);
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

int impressions_add(struct db *db, struct span batch_id, json_t *counts, int64_t now_ms, int64_t *ret_count)
{
    *ret_count = 0;
    if (db_begin(db) != 0)
        return -1;
    int fresh = remember(db, batch_id, now_ms);
    int rc = fresh < 0 ? -1 : 0;
    if (fresh == 1 && (add_all(db, counts, now_ms, ret_count) != 0 || forget_old(db, batch_id, now_ms) != 0))
        rc = -1;
    if (rc == 0 && db_commit(db) == 0)
        return 0;
    db_rollback(db);
    return -1;
}

int impressions_resources(struct db *db, int64_t now_ms, int64_t *ret)
{
    struct db_query *query =
        db_query(db, "SELECT count(DISTINCT resource_id) FROM impressions WHERE updated_at >= ?");
    if (query == NULL)
        return -1;
    db_bind_int(query, 1, now_ms);
    int row = db_step(query);
    if (row == 1)
        *ret = db_int(query, 0);
    db_done(query);
    return row == 1 ? 0 : -1;
}
