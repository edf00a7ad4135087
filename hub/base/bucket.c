/* SPDX-License-Identifier: MIT */
/* Token buckets; see bucket.h. Counts thousandths: at a rate of 1/s one is added per ms. */
#include "hub/base/bucket.h"

void bucket_fill(struct bucket *bucket, struct bucket_rate rate, uint64_t now)
{
    *bucket = (struct bucket){rate.burst * 1000, now};
}

int64_t bucket_take(struct bucket *bucket, struct bucket_rate rate, int64_t n, uint64_t now)
{
    int64_t elapsed = (int64_t)(now - bucket->at), missing = rate.burst * 1000 - bucket->tokens;
    if (elapsed > 0) {
        bucket->at = now;
        bucket->tokens += elapsed > missing / rate.per_s ? missing : elapsed * rate.per_s;
    }
    bucket->tokens -= n * 1000;
    return bucket->tokens;
}

uint64_t bucket_wait_ms(const struct bucket *bucket, struct bucket_rate rate)
{
    return bucket->tokens > 0 ? 0 : (uint64_t)(-bucket->tokens / rate.per_s) + 1;
}
