/* SPDX-License-Identifier: MIT */
/* Type noop_stream: reads an audio stream to its end and returns its size and SHA-256; for testing
 * streams, and types that run in a fresh child of a preloaded parent. Exists only with diagnostics. */
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"

#include <errno.h>
#include <sodium.h>
#include <unistd.h>

#define PIECE 65536 /* bytes between two partial results */

static pid_t preloaded_by; /* proves that preload() ran in the parent */

static int preload(const struct options *options)
{
    (void)options;
    preloaded_by = getpid();
    return 0;
}

static json_t *result_of(struct task_ctx *ctx, uint64_t bytes, crypto_hash_sha256_state *state)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof hash + 1];
    crypto_hash_sha256_final(state, hash);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    return json_pack("{s:I, s:s, s:b, s:i}", "bytes", (json_int_t)bytes, "sha256", hex, "preloaded",
                     preloaded_by != 0 && preloaded_by != getpid(), "attempt", (int)task_attempt(ctx));
}

static void run(struct task_ctx *ctx)
{
    static char data[16384];
    crypto_hash_sha256_state state;
    uint64_t bytes = 0, told = 0;
    crypto_hash_sha256_init(&state);
    task_progress(ctx, 0, "listening", NULL);
    for (ssize_t n; (n = task_audio_read(ctx, data, sizeof data, 500)) != 0;) {
        if (n < 0 && errno == ECANCELED)
            return;
        if (n < 0)
            continue;
        crypto_hash_sha256_update(&state, (unsigned char *)data, (unsigned long long)n);
        bytes += (uint64_t)n;
        if (bytes - told < PIECE)
            continue;
        told = bytes;
        task_partial(ctx, json_pack("{s:I}", "bytes", (json_int_t)bytes), false);
    }
    task_partial(ctx, json_pack("{s:I}", "bytes", (json_int_t)bytes), true);
    task_finish(ctx, result_of(ctx, bytes, &state));
}

const struct task_type task_type_noop_stream = {
    .name = "noop_stream",
    .title = "Reads an audio stream and tells its checksum (for testing)",
    .kind = TASK_HEAVY,
    .queue = "live",
    .isolation = TASK_FRESH,
    .diagnostics = true,
    .stream = true,
    .preload = preload,
    .run = run,
};
