/* SPDX-License-Identifier: MIT */
/* SQLite with a cache of statements and migrations; see db.h. One thread per connection, never the loop's.
 * Several processes share the file: WAL mode, a busy timeout, and transactions that take the write lock at
 * the start. */
#include "hub/sql/db.h"

#include "hub/base/log.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>

#define BUSY_TIMEOUT_MS 10000
#define CACHE_SIZE 32

struct db_query {
    struct db *db;
    sqlite3_stmt *statement;
    char *sql;
    bool busy;     /* handed out */
    uint64_t used; /* last use: the oldest is evicted first */
};

struct db {
    sqlite3 *handle;
    uint64_t clock;
    char undone[160]; /* why the last transaction was rolled back */
    struct db_query cache[CACHE_SIZE];
};

static const char *const setup_sql = "PRAGMA journal_mode = WAL;"
                                     "PRAGMA synchronous = NORMAL;"
                                     "PRAGMA foreign_keys = ON;"
                                     "PRAGMA trusted_schema = OFF;"
                                     "PRAGMA journal_size_limit = 16777216;";

/* Retries here, since SQLite ignores the busy handler while a new file changes to WAL mode. */
static int set_up(sqlite3 *handle)
{
    int rc = SQLITE_BUSY;
    for (int waited = 0; waited < BUSY_TIMEOUT_MS; waited += 10) {
        rc = sqlite3_exec(handle, setup_sql, NULL, NULL, NULL);
        if (rc != SQLITE_BUSY)
            break;
        sqlite3_sleep(10);
    }
    return rc;
}

struct db *db_open(const char *path, char **ret_reason)
{
    struct db *db = xcalloc(1, sizeof *db);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(path, &db->handle, flags, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
        rc = set_up(db->handle);
    }
    if (rc != SQLITE_OK) {
        *ret_reason =
            xasprintf("database %s: %s", path, db->handle ? sqlite3_errmsg(db->handle) : "no memory");
        db_close(&db);
        return NULL;
    }
    return db;
}

static void forget(struct db_query *query)
{
    sqlite3_finalize(query->statement);
    free(query->sql);
    memset(query, 0, sizeof *query);
}

void db_close(struct db **db)
{
    if (*db == NULL)
        return;
    for (size_t i = 0; i < CACHE_SIZE; i++)
        forget(&(*db)->cache[i]);
    sqlite3_close((*db)->handle);
    free(*db);
    *db = NULL;
}

const char *db_error(struct db *db)
{
    bool fine = sqlite3_errcode(db->handle) == SQLITE_OK;
    return fine && *db->undone ? db->undone : sqlite3_errmsg(db->handle);
}

int db_exec(struct db *db, const char *sql)
{
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

int db_begin(struct db *db)
{
    db->undone[0] = '\0';
    return db_exec(db, "BEGIN IMMEDIATE");
}

static void roll_back(struct db *db)
{
    if (sqlite3_errcode(db->handle) != SQLITE_OK)
        snprintf(db->undone, sizeof db->undone, "%s", sqlite3_errmsg(db->handle));
    if (!sqlite3_get_autocommit(db->handle) && db_exec(db, "ROLLBACK") != 0)
        log_error("database rollback failed", "reason", db_error(db));
}

int db_end(struct db *db, int rc)
{
    if (rc == 0 && db_exec(db, "COMMIT") == 0)
        return 0;
    roll_back(db);
    return -1;
}

/* ---- migrations --------------------------------------------------------------------------------- */

static int schema_version(struct db *db)
{
    int64_t version;
    return db_one(db_query(db, "PRAGMA user_version", ""), &version) == 0 ? (int)version : -1;
}

/* Applies a step within a transaction; reads the version again because another process may have been
 * first. */
static int apply_step(struct db *db, const struct db_migration *step)
{
    char sql[64];
    int version = schema_version(db);
    if (version < 0)
        return -1;
    if (version >= step->version)
        return 0;
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", step->version);
    return db_exec(db, step->sql) == 0 ? db_exec(db, sql) : -1;
}

int db_migrate(struct db *db, const struct db_migration *steps, size_t count)
{
    int version = schema_version(db);
    if (version < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (steps[i].version <= version)
            continue;
        if (db_begin(db) != 0)
            return -1;
        if (db_end(db, apply_step(db, &steps[i])) != 0) {
            log_error("database migration failed", "version", LOG_NUM(steps[i].version), "reason",
                      db_error(db));
            return -1;
        }
    }
    return 0;
}

/* ---- queries ------------------------------------------------------------------------------------ */

/* Frees the slot idle for longest; NULL if all are handed out. */
static struct db_query *free_slot(struct db *db)
{
    struct db_query *oldest = NULL;
    for (size_t i = 0; i < CACHE_SIZE; i++) {
        struct db_query *query = &db->cache[i];
        if (!query->busy && (oldest == NULL || query->used < oldest->used))
            oldest = query;
    }
    if (oldest)
        forget(oldest);
    return oldest;
}

static struct db_query *cached(struct db *db, const char *sql)
{
    for (size_t i = 0; i < CACHE_SIZE; i++)
        if (db->cache[i].sql && !db->cache[i].busy && strcmp(db->cache[i].sql, sql) == 0)
            return &db->cache[i];
    return NULL;
}

static struct db_query *prepare(struct db *db, const char *sql)
{
    struct db_query *query = cached(db, sql);
    if (query == NULL) {
        query = free_slot(db);
        if (query == NULL || sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                                &query->statement, NULL) != SQLITE_OK)
            return NULL;
        query->db = db;
        query->sql = xstrdup(sql);
    }
    query->busy = true;
    query->used = ++db->clock;
    return query;
}

static void bind_text(sqlite3_stmt *statement, int mark, struct span text)
{
    if (text.p == NULL)
        sqlite3_bind_null(statement, mark);
    else
        sqlite3_bind_text64(statement, mark, text.p, text.n, SQLITE_TRANSIENT, SQLITE_UTF8);
}

struct db_query *db_query(struct db *db, const char *sql, const char *types, ...)
{
    struct db_query *query = prepare(db, sql);
    va_list values;
    va_start(values, types);
    for (int mark = 1; query && types[mark - 1]; mark++) {
        switch (types[mark - 1]) {
        case 's':
            bind_text(query->statement, mark, va_arg(values, struct span));
            break;
        case 'i':
            sqlite3_bind_int64(query->statement, mark, va_arg(values, int));
            break;
        case 'l':
            sqlite3_bind_int64(query->statement, mark, va_arg(values, int64_t));
            break;
        case 'd':
            sqlite3_bind_double(query->statement, mark, va_arg(values, double));
            break;
        default:
            abort(); /* the caller's mistake */
        }
    }
    va_end(values);
    return query;
}

int db_run(struct db_query *query)
{
    int row = db_step(query);
    db_done(query);
    return row == 0 ? 0 : -1;
}

int db_one(struct db_query *query, int64_t *ret)
{
    int row = db_step(query);
    *ret = row == 1 ? db_int(query, 0) : 0;
    db_done(query);
    return row < 0 ? -1 : 0;
}

int db_step(struct db_query *query)
{
    int rc = query ? sqlite3_step(query->statement) : SQLITE_ERROR;
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : -1;
}

struct span db_text(struct db_query *query, int column)
{
    const char *text = (const char *)sqlite3_column_text(query->statement, column);
    return (struct span){text, text ? (size_t)sqlite3_column_bytes(query->statement, column) : 0};
}

int64_t db_int(struct db_query *query, int column)
{
    return sqlite3_column_int64(query->statement, column);
}

void db_done(struct db_query *query)
{
    if (query == NULL)
        return;
    sqlite3_reset(query->statement);
    sqlite3_clear_bindings(query->statement);
    query->busy = false;
}

int64_t db_changes(struct db *db)
{
    return sqlite3_changes(db->handle);
}
