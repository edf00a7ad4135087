/* SPDX-License-Identifier: MIT */
/* Where a Redis is: redis://[user:password@]host[:port][,host[:port]…][/db] or
 * unix:[//[user:password@]]PATH[?db=N]. Of several
 * addresses the one is used that is the primary. No state; any thread. */
#pragma once

#include "hub/base/mem.h"

#define REDIS_PLACES_MAX 16

struct redis_place {
    char *host;
    unsigned port; /* default 6379 */
};
struct redis_url {
    char *unix_path; /* or NULL */
    struct redis_place places[REDIS_PLACES_MAX];
    unsigned place_count;  /* 0 with unix_path */
    unsigned db;           /* default 0 */
    char *user, *password; /* or NULL; never logged */
};
/* NULL, and *ret to be freed by redis_url_free(); or a fixed English reason, and *ret untouched. */
const char *redis_url_parse(const char *text, struct redis_url *ret) MUSTCHECK;
/* Frees the texts; all zero is fine. */
void redis_url_free(struct redis_url *url);
