/* SPDX-License-Identifier: MIT */
/* SQL for domain data, in SQLite. A connection belongs to one thread at a time, and never to the loop's,
 * since everything here may block. Knows no table: the schema is in tasks/store/. */
#pragma once

#include "hub/base/mem.h"
#include "hub/base/span.h"

#include <stdint.h>

struct db;
struct db_query; /* a prepared statement being run */

/* Opens the database file; creates it if missing. NULL and *ret_reason (free()). */
struct db *db_open(const char *path, char **ret_reason);
/* Closes the connection and ends its queries; NULL is fine. */
void db_close(struct db **db);
/* Applies the steps above the stored schema version, each in its own transaction that holds the write
 * lock, so that processes starting together do not collide. 0 or -1 (db_error()). */
struct db_migration {
    int version; /* rising */
    const char *sql;
};
int db_migrate(struct db *db, const struct db_migration *steps, size_t count) MUSTCHECK;

/* Runs statements without results. 0 or -1. */
int db_exec(struct db *db, const char *sql) MUSTCHECK;
/* Begins a transaction and takes the write lock; waits for it up to 10 s. 0 or -1. */
int db_begin(struct db *db) MUSTCHECK;
/* Ends the transaction: commits if rc is 0, else rolls back. 0 or -1. */
int db_end(struct db *db, int rc) MUSTCHECK;

/* Begins a query: a statement with `?` marks, and their values. `types` has a letter for each: s = struct
 * span (absent = NULL), i = int, l = int64_t, d = double. Texts are copied. NULL on error, which db_step(),
 * db_run() and db_one() pass on. */
struct db_query *db_query(struct db *db, const char *sql, const char *types, ...);
/* Returns 1: there is a row; 0: no more rows; -1: an error. */
int db_step(struct db_query *query) MUSTCHECK;
/* A column (from 0) of the row, valid until the next step; NULL is absent or 0. */
struct span db_text(struct db_query *query, int column);
int64_t db_int(struct db_query *query, int column);
/* Ends the query; NULL is fine. */
void db_done(struct db_query *query);
/* Runs and ends a query that gives no rows. 0 or -1. */
int db_run(struct db_query *query) MUSTCHECK;
/* Runs and ends a query: the first column of its first row as an integer, 0 without a row. 0 or -1. */
int db_one(struct db_query *query, int64_t *ret) MUSTCHECK;
/* How many rows the last statement changed. */
int64_t db_changes(struct db *db);
/* English text of the last error, valid until the next call. */
const char *db_error(struct db *db);
