/* SPDX-License-Identifier: MIT */
/* The domain database: its location, its tables, their migrations. Any thread with a database of its own. */
#pragma once

#include "hub/config/options.h"
#include "hub/sql/db.h"

/* Migrates the tables to this version; cheap if they are up to date. 0 or -1 (db_error()). */
int store_migrate(struct db *db) MUSTCHECK;
/* Creates the data directory and the database if missing. Call at start, so that mistakes show at once.
 * False and *ret_reason (free()). */
bool store_prepare(const struct options *options, char **ret_reason) MUSTCHECK;
/* For a check: opens an existing database, creates none. True and *ret_state (static text): it is usable,
 * or the hub can create it; else *ret_reason (free()). */
bool store_check(const struct options *options, const char **ret_state, char **ret_reason) MUSTCHECK;
/* Opens the database for the calling thread (db_close()): DATA/taskhub.db, or the path of database_url =
 * sqlite:PATH. NULL and a log line on failure. */
struct db *store_open(const struct options *options);
