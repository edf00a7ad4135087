/* SPDX-License-Identifier: MIT */
/* The address of a Redis: redis://[user:password@]host[:port][/db] or unix:PATH[?db=N]. No state; any thread.
 */
#pragma once

#include "hub/base/mem.h"

struct redis_url {
    char *unix_path;       /* or NULL */
    char *host;            /* or NULL */
    unsigned port;         /* default 6379 */
    unsigned db;           /* default 0 */
    char *user, *password; /* or NULL; never logged */
};
/* NULL, and *ret to be freed by redis_url_free(); or a fixed English reason, and *ret untouched. */
const char *redis_url_parse(const char *text, struct redis_url *ret) MUSTCHECK;
/* Frees the texts; all zero is fine. */
void redis_url_free(struct redis_url *url);
