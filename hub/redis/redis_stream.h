/* SPDX-License-Identifier: MIT */
/* What a Redis connection reads from and writes to: a socket and two functions, so that tests can cut writes
 * short and TLS can be another pair; and the commands that wait to be written there, in RESP. Heads and short
 * words are gathered in one buffer, long words stay where they are and go out from there, all in one
 * writev(2); and those commands whose answer is not told yet. Never blocks. Loop thread only. */
#pragma once

#include "hub/base/buf.h"
#include "hub/redis/redis.h"

#include <sys/socket.h>
#include <sys/uio.h>

struct redis_stream {
    int fd; /* -1 = closed */
    /* As read(2) and writev(2). A read that gives less than it was asked for took all there was. */
    ssize_t (*read)(struct redis_stream *stream, void *to, size_t size);
    ssize_t (*writev)(struct redis_stream *stream, const struct iovec *pieces, int count);
};
#define REDIS_STREAM_CLOSED ((struct redis_stream){.fd = -1})

/* Begins to connect; the socket becomes writable when that is decided. Returns 0 or an errno. */
int redis_stream_connect(struct redis_stream *stream, const struct sockaddr *address, socklen_t size);
/* The same for a unix socket. */
int redis_stream_connect_path(struct redis_stream *stream, const char *path);
/* How that was decided: 0 or an errno. */
int redis_stream_outcome(const struct redis_stream *stream);
/* Closed already is fine. */
void redis_stream_close(struct redis_stream *stream);

/* ---- what waits to be written ---- */
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

/* ---- commands whose answer is not told, in their order ---- */
struct redis_call {
    redis_reply_fn *fn; /* NULL = nobody wants to know */
    void *ctx;
    uint64_t end;       /* it is sent when so many bytes are */
    redisReply *answer; /* that is kept; NULL = none */
};

struct redis_calls { /* a ring; all zero = empty */
    struct redis_call *ring;
    size_t first, count, room;
    size_t kept; /* the first ones, whose answers are kept */
};

/* Adds the newest one. */
void redis_calls_add(struct redis_calls *calls, redis_reply_fn *fn, void *ctx, uint64_t end);
/* Returns the one that the next answer is for; NULL: every one has its answer. Valid until the next change.
 */
static inline struct redis_call *redis_calls_due(const struct redis_calls *calls)
{
    if (calls->count == calls->kept)
        return NULL;
    return &calls->ring[(calls->first + calls->kept) & (calls->room - 1)];
}
/* Keeps the answer of the one that is due, and owns it. */
void redis_calls_keep(struct redis_calls *calls, redisReply *answer);
/* Takes out the oldest one, and tells it the answer that was kept. */
void redis_calls_tell_kept(struct redis_calls *calls);
/* Takes out the oldest one, and tells it this (borrowed; NULL = unknown) instead of what may have been kept.
 */
void redis_calls_tell(struct redis_calls *calls, const redisReply *answer);
/* Frees the memory of an empty one. */
void redis_calls_free(struct redis_calls *calls);
