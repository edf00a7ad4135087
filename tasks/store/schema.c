/* SPDX-License-Identifier: MIT */
/* The schema as numbered steps; see schema.h. A released step is never changed; a new one is added. Times
 * are milliseconds since 1970. The SQL is understood by both SQLite and PostgreSQL. Any thread with a
 * database of its own. */
#include "tasks/store/schema.h"

#include "hub/base/file.h"
#include "hub/base/log.h"

#include <libgen.h>
#include <unistd.h>

static const struct db_migration steps[] = {
    {1, "CREATE TABLE votes ("
        "  resource_id TEXT NOT NULL,"
        "  user_id TEXT NOT NULL,"
        "  stars INTEGER NOT NULL CHECK (stars BETWEEN 1 AND 5),"
        "  voted_at BIGINT NOT NULL,"
        "  PRIMARY KEY (resource_id, user_id));"
        "CREATE INDEX votes_by_time ON votes (voted_at);"
        "CREATE TABLE vote_totals (" /* one row: the sum of all votes */
        "  id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),"
        "  votes BIGINT NOT NULL,"
        "  stars BIGINT NOT NULL);"
        "INSERT INTO vote_totals (id, votes, stars) VALUES (1, 0, 0);"
        "CREATE TABLE ratings ("
        "  resource_id TEXT NOT NULL PRIMARY KEY,"
        "  rating DOUBLE PRECISION NOT NULL," /* Bayesian average, 1 to 5 */
        "  votes BIGINT NOT NULL,"
        "  lower_bound DOUBLE PRECISION NOT NULL," /* Wilson, 0 to 1 */
        "  calculated_at BIGINT NOT NULL);"
        "CREATE TABLE notifications ("
        "  id TEXT NOT NULL PRIMARY KEY,"
        "  user_id TEXT NOT NULL,"
        "  title TEXT NOT NULL,"
        "  body TEXT NOT NULL,"
        "  link TEXT,"
        "  created_at BIGINT NOT NULL,"
        "  read_at BIGINT);"
        "CREATE INDEX notifications_by_user ON notifications (user_id, created_at, id);"
        "CREATE TABLE impressions ("
        "  resource_id TEXT NOT NULL,"
        "  kind TEXT NOT NULL,"
        "  count BIGINT NOT NULL,"
        "  updated_at BIGINT NOT NULL,"
        "  PRIMARY KEY (resource_id, kind));"
        "CREATE TABLE impression_batches ("
        "  id TEXT NOT NULL PRIMARY KEY,"
        "  applied_at BIGINT NOT NULL);"},
    {2, "CREATE TABLE request_keys (" /* idempotency keys of requests that write here */
        "  user_id TEXT NOT NULL,"
        "  key TEXT NOT NULL,"
        "  request TEXT NOT NULL,"
        "  used_at BIGINT NOT NULL,"
        "  PRIMARY KEY (user_id, key));"
        "CREATE INDEX request_keys_by_time ON request_keys (used_at);"},
};

int store_migrate(struct db *db)
{
    return db_migrate(db, steps, NELEMS(steps));
}

static char *database_path(const struct options *options)
{
    static const char scheme[] = "sqlite:";
    if (strncmp(options->database_url, scheme, sizeof scheme - 1) == 0)
        return xstrdup(options->database_url + sizeof scheme - 1);
    return xasprintf("%s/taskhub.db", options->data_dir);
}

struct db *store_open(const struct options *options)
{
    char *path CLEANUP(free_char) = database_path(options), *reason CLEANUP(free_char) = NULL;
    struct db *db = db_open(path, &reason);
    if (db == NULL) {
        log_error("the domain database cannot be opened", "path", path, "reason", reason);
    } else if (store_migrate(db) != 0) {
        log_error("the domain database cannot be migrated", "path", path, "reason", db_error(db));
        db_close(&db);
    }
    return db;
}

static bool opens(const struct options *options, char **ret_reason)
{
    struct db *db = store_open(options);
    if (db == NULL)
        *ret_reason = xstrdup("database_url: the domain database cannot be opened");
    else
        db_close(&db);
    return *ret_reason == NULL;
}

bool store_prepare(const struct options *options, char **ret_reason)
{
    return data_dir_make(options->data_dir, ret_reason) && opens(options, ret_reason);
}

bool store_check(const struct options *options, const char **ret_state, char **ret_reason)
{
    char *path CLEANUP(free_char) = database_path(options);
    bool exists = access(path, F_OK) == 0;
    *ret_state = exists ? "opens, tables are up to date" : "none yet; the hub makes it at its first start";
    if (exists)
        return opens(options, ret_reason);
    const char *directory = dirname(path);
    if (access(directory, F_OK) != 0)
        *ret_reason = xasprintf("no database in %s; is this the hub's data directory?", directory);
    return *ret_reason == NULL;
}
