/* SPDX-License-Identifier: MIT */
/* Token buckets: they fill with time, never beyond the burst, and can be taken below empty. */
#include "hub/base/bucket.h"
#include "tests/lib/tap.h"

int main(void)
{
    const struct bucket_rate rate = {.per_s = 10, .burst = 20};
    struct bucket bucket;
    bucket_fill(&bucket, rate, 1000);
    is_int(bucket_take(&bucket, rate, 20, 1000), 0, "the burst at once");
    is_int((int64_t)bucket_wait_ms(&bucket, rate), 1, "then it is empty");
    is_int(bucket_take(&bucket, rate, 0, 1050), 500, "half a token in 50 ms");
    is_int((int64_t)bucket_wait_ms(&bucket, rate), 0, "something is in it");
    is_int(bucket_take(&bucket, rate, 5, 1100), -4000, "more than there is");
    is_int((int64_t)bucket_wait_ms(&bucket, rate), 401, "has to come first");
    is_int(bucket_take(&bucket, rate, 0, 1501), 10, "and has come by then");
    is_int(bucket_take(&bucket, rate, 0, 1400), 10, "time does not go back");
    is_int(bucket_take(&bucket, rate, 0, UINT64_C(1) << 60), 20000, "never more than the burst");
    return done_testing();
}
