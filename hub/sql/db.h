/* SPDX-License-Identifier: MIT */
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
/* Ends the transaction: commits if rc is 0, else rolls back. 0 or -1. */
int db_end(struct db *db, int rc) MUSTCHECK;

/* A statement with `?` marks, prepared or from the connection's cache, and their values. `types` has a letter
 * for each: s = struct span (absent = NULL), i = int, l = int64_t, d = double. Texts are copied. NULL on
 * error, which db_step() passes on. */
struct db_query *db_query(struct db *db, const char *sql, const char *types, ...);
/* 1 = a row, 0 = done, -1 = error (or a query that is NULL). */
int db_step(struct db_query *query) MUSTCHECK;
struct span db_text(struct db_query *query, int column); /* from 0; until the next step; NULL is absent */
int64_t db_int(struct db_query *query, int column);      /* NULL is 0 */
/* Ends the query, returns the statement to the cache; NULL is fine. */
void db_done(struct db_query *query);
/* Runs and ends a query that gives no rows. 0 or -1. */
int db_run(struct db_query *query) MUSTCHECK;
/* Runs and ends a query: the first column of its first row as an integer, 0 without a row. 0 or -1. */
int db_one(struct db_query *query, int64_t *ret) MUSTCHECK;
int64_t db_changes(struct db *db);
const char *db_error(struct db *db); /* English text of the last error, until the next call */
