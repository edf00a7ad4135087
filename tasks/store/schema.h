/* SPDX-License-Identifier: MIT */
/* The tables of the domain data and how they came to be. Any thread with a database of its own. */
#pragma once

#include "hub/config/options.h"
#include "hub/sql/db.h"

/* Brings the tables to this version; cheap when they are. 0 or -1 (db_error()). */
int store_migrate(struct db *db) MUSTCHECK;
/* At start: creates data directory and database where they are missing, so that mistakes show at once.
 * False and *ret_reason (free()). */
bool store_prepare(const struct options *options, char **ret_reason) MUSTCHECK;
/* For a check: opens the database that is there, creates none. True and *ret_state (fixed words): it fits, or
 * the hub can create it; else *ret_reason (free()). */
bool store_check(const struct options *options, const char **ret_state, char **ret_reason) MUSTCHECK;
/* Opens the domain database of this configuration for the calling thread: DATA/taskhub.db, or the path
 * of database_url = sqlite:PATH. NULL and a log line on failure. */
struct db *store_open(const struct options *options);
