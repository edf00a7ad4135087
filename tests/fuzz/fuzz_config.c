/* SPDX-License-Identifier: MIT */
/* Configuration files, and the URL of Redis. */
#include "hub/config/options_table.h"
#include "hub/config/redis_url.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = fuzz_span(data, size);
    struct options options = {0};
    char *reason = NULL;
    if (options_parse_file(&options, "fuzz.conf", text, &reason)) {
        struct buf out = BUF_INIT;
        option_fill_defaults(&options);
        options_print(&options, &out);
        buf_free(&out);
        HOLDS(reason == NULL);
    } else {
        HOLDS(reason && strstr(reason, "fuzz.conf"));
    }
    free(reason);
    options_free(&options);

    char *copy = xstrndup(text.p, text.n);
    struct redis_url url;
    if (redis_url_parse(copy, &url) == NULL) {
        HOLDS(url.unix_path || url.places[0].host);
        redis_url_free(&url);
    }
    free(copy);
    return 0;
}
