/* SPDX-License-Identifier: MIT */
/* The database: queries, cache, transactions, migrations, two processes at once. */
#include "hub/sql/db.h"
#include "tests/lib/tap.h"

#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/test-db-XXXXXX", path[64];

static const struct db_migration steps[] = {
    {1, "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, value REAL) STRICT;"},
    {2, "ALTER TABLE t ADD COLUMN more INTEGER; INSERT INTO t(id,name) VALUES (1,'one');"},
};

static struct db *open_db(void)
{
    char *reason = NULL;
    struct db *db = db_open(path, &reason);
    if (db == NULL) {
        diag("%s", reason);
        abort();
    }
    return db;
}

/* Eight processes open, migrate and write at once. */
static void test_processes(void)
{
    pid_t pids[8];
    int failed = 0;
    for (size_t i = 0; i < NELEMS(pids); i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct db *db = open_db();
            bool fine = db_migrate(db, steps, NELEMS(steps)) == 0;
            for (int n = 0; fine && n < 20; n++)
                fine = db_begin(db) == 0 &&
                       db_end(db, db_exec(db, "UPDATE t SET more = coalesce(more, 0) + 1")) == 0;
            db_close(&db);
            _exit(fine ? 0 : 1);
        }
    }
    for (size_t i = 0; i < NELEMS(pids); i++) {
        int status;
        if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
            failed++;
    }
    is_int(failed, 0, "every process migrated and wrote");
    struct db *db = open_db();
    struct db_query *query = db_query(db, "SELECT more, (SELECT count(*) FROM t) FROM t", "");
    ok(query && db_step(query) == 1, "one row");
    is_int(db_int(query, 0), 160, "no write was lost");
    is_int(db_int(query, 1), 1, "the migration ran once");
    db_done(query);
    db_close(&db);
}

static void test_queries(struct db *db)
{
    static const char by_id[] = "SELECT name, value, more FROM t WHERE id = ?";
    int64_t number;
    is_int(db_run(db_query(db, "INSERT INTO t(name, value, more) VALUES (?, ?, ?)", "sds", SPAN("a\0b"), 1.5,
                           SPAN_NONE)),
           0, "insert");
    is_int(db_changes(db), 1, "one change");
    struct db_query *query = db_query(db, by_id, "i", 2);
    is_int(db_step(query), 1, "a row");
    ok(span_equal(db_text(query, 0), SPAN("a\0b")), "text with NUL comes back whole");
    ok(span_is(db_text(query, 1), "1.5"), "double");
    ok(db_text(query, 2).p == NULL && db_int(query, 2) == 0, "null");
    struct db_query *nested = db_query(db, by_id, "");
    ok(nested && nested != query, "the same text while the first is running");
    is_int(db_step(nested), 0, "an unbound mark is NULL and finds nothing");
    db_done(nested);
    is_int(db_step(query), 0, "no second row");
    db_done(query);
    struct db_query *again = db_query(db, by_id, "");
    ok(again == query || again == nested, "taken from the cache");
    is_int(db_step(again), 0, "bindings are gone");
    db_done(again);

    ok(db_query(db, "SELECT x FROM nowhere", "") == NULL, "bad SQL");
    ok(strstr(db_error(db), "nowhere") != NULL, "has a reason: %s", db_error(db));
    is_int(db_step(NULL), -1, "running no query fails");
    is_int(db_run(db_query(db, "INSERT INTO t(id) VALUES (?)", "l", (int64_t)1)), -1,
           "a broken constraint fails");
    is_int(db_one(db_query(db, "SELECT max(id) FROM t", ""), &number), 0, "one row");
    is_int(number, 2, "its number");
    is_int(db_one(db_query(db, by_id, "l", INT64_MAX), &number), 0, "no row");
    is_int(number, 0, "no number");
    is_int(db_one(db_query(db, "SELECT x FROM nowhere", ""), &number), -1, "no table");
    db_done(NULL);
}

static void test_cache(struct db *db)
{
    struct db_query *held[40];
    char sql[32];
    size_t got = 0;
    for (size_t i = 0; i < NELEMS(held); i++) {
        snprintf(sql, sizeof sql, "SELECT %zu", i);
        held[i] = db_query(db, sql, "");
        got += held[i] != NULL;
    }
    is_int(got, 32, "as many statements at once as the cache has room for");
    for (size_t i = 0; i < got; i++)
        db_done(held[i]);
    ok(db_query(db, "SELECT 99", "") != NULL, "then the oldest makes room");
}

static void test_transactions(struct db *db)
{
    ok(db_begin(db) == 0 && db_exec(db, "DELETE FROM t") == 0, "begin");
    ok(db_exec(db, "SELECT x FROM nowhere") != 0, "a statement fails");
    is_int(db_end(db, -1), -1, "is rolled back");
    is_int(db_end(db, -1), -1, "once is enough");
    ok(strstr(db_error(db), "nowhere") != NULL, "the reason outlives the rollback: %s", db_error(db));
    int64_t rows;
    ok(db_one(db_query(db, "SELECT count(*) FROM t", ""), &rows) == 0 && rows == 2, "the rows are there");
    const struct db_migration broken[] = {{3, "CREATE TABLE u (x); INSERT INTO nowhere VALUES (1);"}};
    is_int(db_migrate(db, broken, 1), -1, "a broken migration fails");
    ok(db_query(db, "SELECT * FROM u", "") == NULL, "and leaves nothing behind");
    is_int(db_migrate(db, steps, NELEMS(steps)), 0, "the database still works");
}

int main(void)
{
    char *reason = NULL;
    if (mkdtemp(dir) == NULL)
        abort();
    snprintf(path, sizeof path, "%s/t.db", dir);
    test_processes();
    struct db *db = open_db();
    test_queries(db);
    test_transactions(db);
    test_cache(db);
    db_close(&db);
    db_close(&db);
    ok(db_open("/nonexistent/t.db", &reason) == NULL && strstr(reason, "/nonexistent/t.db"), "%s", reason);
    free(reason);
    unlink(path);
    rmdir(dir);
    return done_testing();
}
