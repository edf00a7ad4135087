/* SPDX-License-Identifier: MIT */
/* Idempotency keys of requests that write to the database, stored in the same transaction as what was
 * written. Any thread with a database of its own. Times are milliseconds since 1970. */
#pragma once

#include "hub/sql/db.h"

enum request_key {
    REQUEST_NEW,   /* the key is noted now: carry out the request */
    REQUEST_DONE,  /* the request was carried out before */
    REQUEST_OTHER, /* the key stands for something else */
};
/* Notes that `user` asks for `request` (a text that describes it completely, at most 64 bytes) under
 * `key`; within a transaction. Keys are kept for two days. 0, or -1 and db_error(). */
int request_key_take(struct db *db, struct span user, struct span key, struct span request, int64_t now_ms,
                     enum request_key *ret) MUSTCHECK;
