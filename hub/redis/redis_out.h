/* SPDX-License-Identifier: MIT */
/* What waits to be written to a Redis: commands in RESP. Heads and short words are gathered in one buffer,
 * long words stay where they are and go out from there, all in one writev(2). Loop thread only. */
#pragma once

#include "hub/base/buf.h"
#include "hub/redis/redis_stream.h"

struct redis_out_word;
struct redis_out {
    struct buf bytes;             /* heads and short words */
    struct redis_out_word *words; /* long ones, each with its place among the bytes */
    size_t word_count, word_room;
    size_t at, word_at, word_sent; /* written so far */
    uint64_t taken, sent;          /* bytes given and written since the last clear */
};

/* Appends a command; `lengths` NULL = the words end with a NUL. With `lent` words of 1 KiB and more are not
 * copied: they must stay as they are until `sent` has reached what `taken` is afterwards, or the clear. */
void redis_out_command(struct redis_out *out, int argc, const char *const *argv, const size_t *lengths,
                       bool lent);
static inline bool redis_out_empty(const struct redis_out *out)
{
    return out->sent == out->taken;
}
/* Writes what the stream takes. Returns 0: all is written; EAGAIN: a rest waits; else the errno that ends the
 * stream. */
int redis_out_flush(struct redis_out *out, struct redis_stream *stream);
/* Forgets what was not written, and wipes the buffer: a password may have stood there. */
void redis_out_clear(struct redis_out *out);
void redis_out_free(struct redis_out *out);
