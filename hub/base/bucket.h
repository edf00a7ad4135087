/* SPDX-License-Identifier: MIT */
/* A token bucket: how fast something may come. It fills with time up to its burst and may be taken below
 * empty: then whoever took waits, or is refused. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    int64_t tokens; /* thousandths; negative: more was taken than came */
    uint64_t at;    /* mono ms: filled until then */
};
struct bucket_rate {
    int64_t per_s, burst; /* at least 1 */
};

/* Makes a full one; `now` in ms. */
void bucket_fill(struct bucket *bucket, struct bucket_rate rate, uint64_t now);
/* Adds what has come until `now`, takes `n` (0 or more). Returns thousandths that are left. */
int64_t bucket_take(struct bucket *bucket, struct bucket_rate rate, int64_t n, uint64_t now);
/* Returns the ms until something is in it again, 0 if there is. */
uint64_t bucket_wait_ms(const struct bucket *bucket, struct bucket_rate rate);
