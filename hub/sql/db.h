/* SQL for domain data: SQLite in the data directory, WAL mode. A connection belongs to one thread;
 * the loop thread never has one. Knows no table; the schema stands in tasks/store/. */
#pragma once

#include "hub/base/mem.h"
#include "hub/base/span.h"

#include <stdint.h>

struct db;
struct db_query; /* a prepared statement being run */

/* Opens (creates) the database file; NULL and *ret_reason (free()) on failure. */
struct db *db_open(const char *path, char **ret_reason);
void db_close(struct db **db);
/* Applies the steps with a number above the stored schema version, each in its own transaction, under
 * one write lock, so that processes starting together do not collide. 0 or -1 (db_error()). */
struct db_migration {
    int version; /* rising */
    const char *sql;
};
int db_migrate(struct db *db, const struct db_migration *steps, size_t count) MUSTCHECK;

/* Runs statements without results. 0 or -1. */
int db_exec(struct db *db, const char *sql) MUSTCHECK;
int db_begin(struct db *db) MUSTCHECK; /* BEGIN IMMEDIATE */
int db_commit(struct db *db) MUSTCHECK;
void db_rollback(struct db *db);

/* Prepares (or takes from the connection's cache) a statement with `?` marks; NULL on error. */
struct db_query *db_query(struct db *db, const char *sql);
void db_bind_text(struct db_query *query, int index, struct span text); /* index from 1; copied */
void db_bind_int(struct db_query *query, int index, int64_t value);
void db_bind_double(struct db_query *query, int index, double value);
void db_bind_null(struct db_query *query, int index);
/* 1 = a row, 0 = done, -1 = error. */
int db_step(struct db_query *query) MUSTCHECK;
struct span db_text(struct db_query *query, int column); /* from 0; until the next step */
int64_t db_int(struct db_query *query, int column);
double db_double(struct db_query *query, int column);
bool db_is_null(struct db_query *query, int column);
/* Ends the query, returns the statement to the cache; NULL is fine. */
void db_done(struct db_query *query);
/* Runs a prepared query that gives no rows and ends it. 0 or -1. */
int db_run(struct db_query *query) MUSTCHECK;
int64_t db_changes(struct db *db);
int64_t db_last_id(struct db *db);
const char *db_error(struct db *db); /* English text of the last error, until the next call */
