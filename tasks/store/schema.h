/* SPDX-License-Identifier: MIT */
/* The domain database: where it is, its tables, how they came to be. Any thread with a database of its own.
 */
#pragma once

#include "hub/config/options.h"
#include "hub/sql/db.h"

/* Brings the tables to this version; cheap when they have it. 0 or -1 (db_error()). */
int store_migrate(struct db *db) MUSTCHECK;
/* Creates data directory and database where they are missing. At start, so that mistakes show at once. False
 * and *ret_reason (free()). */
bool store_prepare(const struct options *options, char **ret_reason) MUSTCHECK;
/* For a check: opens the database that is there, creates none. True and *ret_state (fixed words): it fits, or
 * the hub can create it; else *ret_reason (free()). */
bool store_check(const struct options *options, const char **ret_state, char **ret_reason) MUSTCHECK;
/* Opens the database for the calling thread (db_close()): DATA/taskhub.db, or the path of database_url =
 * sqlite:PATH. NULL and a log line on failure. */
struct db *store_open(const struct options *options);
