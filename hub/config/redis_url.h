/* SPDX-License-Identifier: MIT */
/* Where a Redis is: redis://[user:password@]host[:port][,host[:port]…][/db],
 * unix:[//[user:password@]]PATH[?db=N], or the Sentinels that know it:
 * redis+sentinel://[user:password@]host[:port][,host[:port]…]/NAME[?db=N&sentinel_user=U&sentinel_password=P].
 * Of several addresses, the primary is used. No state; any thread. */
#pragma once

#include "hub/base/mem.h"

#define REDIS_PLACES_MAX 16

struct redis_place {
    char *host;
    unsigned port; /* default 6379, of a Sentinel 26379 */
};
struct redis_url {
    char *unix_path; /* or NULL */
    struct redis_place places[REDIS_PLACES_MAX];
    unsigned place_count;                    /* 0 with unix_path */
    unsigned db;                             /* default 0 */
    char *user, *password;                   /* or NULL; never logged */
    char *sentinel;                          /* the primary's name, if the places are Sentinels; else NULL */
    char *sentinel_user, *sentinel_password; /* credentials for the Sentinels */
};
/* Parses `text`. NULL, and *ret to be freed by redis_url_free(); or a static English reason, and *ret
 * untouched. */
const char *redis_url_parse(const char *text, struct redis_url *ret) MUSTCHECK;
/* Copies all texts; free the copy, too. */
struct redis_url redis_url_copy(const struct redis_url *url);
/* Frees the texts; all zero is fine. */
void redis_url_free(struct redis_url *url);
