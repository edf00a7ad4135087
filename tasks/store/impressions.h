/* SPDX-License-Identifier: MIT */
/* Impressions counted in Redis, summed by resource and kind. Any thread with a database of its own. Every
 * function returns 0, or -1 and db_error(). Times are milliseconds since 1970. */
#pragma once

#include "hub/sql/db.h"

#include <jansson.h>

/* Adds a batch, {"resource kind": count, …} (a resource contains no space), and remembers its id in the
 * same transaction, so that it counts once however often it is added. *ret_count: impressions added now, 0
 * if the batch was added before. */
int impressions_add(struct db *db, struct span batch_id, json_t *counts, int64_t now_ms,
                    int64_t *ret_count) MUSTCHECK;
/* *ret: how many resources got impressions at `now_ms` or later. */
int impressions_resources(struct db *db, int64_t now_ms, int64_t *ret) MUSTCHECK;
