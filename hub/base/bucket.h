/* SPDX-License-Identifier: MIT */
/* A token bucket, which limits a rate. It fills with time up to its burst, and may be taken below zero: then
 * its user waits or is refused. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    int64_t tokens; /* in thousandths; negative: more was taken than was added */
    uint64_t at;    /* ms, as `now` below: time of the last fill */
};
struct bucket_rate {
    int64_t per_s, burst; /* tokens, at least 1 */
};

/* Fills a bucket; `now` in ms of one monotonic clock. */
void bucket_fill(struct bucket *bucket, struct bucket_rate rate, uint64_t now);
/* Adds the tokens due by `now`, then takes `n` (0 or more). Returns the tokens left, in thousandths. */
int64_t bucket_take(struct bucket *bucket, struct bucket_rate rate, int64_t n, uint64_t now);
/* Returns the ms until the bucket is above zero, 0 if it is. */
uint64_t bucket_wait_ms(const struct bucket *bucket, struct bucket_rate rate);
