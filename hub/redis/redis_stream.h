/* SPDX-License-Identifier: MIT */
/* The socket of a Redis connection and the functions that read and write it, so that tests can cut writes
 * short and TLS can be another pair. Also the commands that wait to be written, in RESP: heads and short
 * words are gathered in one buffer, long words are written from their place, all in one writev(2). And the
 * commands whose answers were not delivered yet. Never blocks. Loop thread only. */
#pragma once

#include "hub/base/buf.h"
#include "hub/redis/redis.h"

#include <sys/socket.h>
#include <sys/uio.h>

struct redis_stream {
    int fd; /* -1 = closed */
    /* As read(2) and writev(2). A read that returns less than it was asked for has read all there was. */
    ssize_t (*read)(struct redis_stream *stream, void *to, size_t size);
    ssize_t (*writev)(struct redis_stream *stream, const struct iovec *pieces, int count);
};
#define REDIS_STREAM_CLOSED ((struct redis_stream){.fd = -1})

/* Starts to connect; the socket becomes writable when the outcome is known. Returns 0 or an errno. */
int redis_stream_connect(struct redis_stream *stream, const struct sockaddr *address, socklen_t size);
/* The same for a unix socket. */
int redis_stream_connect_path(struct redis_stream *stream, const char *path);
/* The outcome of connecting: 0 or an errno. */
int redis_stream_outcome(const struct redis_stream *stream);
/* Closes the socket; fine if it is closed already. */
void redis_stream_close(struct redis_stream *stream);

/* ---- what waits to be written ---- */
struct redis_out_word;
struct redis_out {
    struct buf bytes;             /* heads and short words */
    struct redis_out_word *words; /* lent words, each with its place among the bytes */
    size_t word_count, word_room;
    size_t at, word_at, word_sent; /* written so far: bytes, words, bytes of the current word */
    uint64_t taken, sent;          /* bytes appended and bytes written since the last clear */
};

/* Appends a command of `argc` words; `lengths` NULL = the words end with a NUL. With `lent` words of 1 KiB
 * and more are not copied: they must not change until `sent` has reached the value that `taken` has
 * afterwards, or until the clear. */
void redis_out_command(struct redis_out *out, int argc, const char *const *argv, const size_t *lengths,
                       bool lent);
static inline bool redis_out_empty(const struct redis_out *out)
{
    return out->sent == out->taken;
}
/* Writes as much as the stream takes. Returns 0 if all is written, EAGAIN if a rest waits, else the errno
 * that ends the stream. */
int redis_out_flush(struct redis_out *out, struct redis_stream *stream);
/* Drops what was not written, and wipes the buffer, which may have contained a password. */
void redis_out_clear(struct redis_out *out);
void redis_out_free(struct redis_out *out);

/* ---- commands whose answer was not delivered, in order ---- */
struct redis_call {
    redis_reply_fn *fn; /* NULL = the answer is ignored */
    void *ctx;
    uint64_t end;       /* the command is sent when redis_out.sent reaches this */
    redisReply *answer; /* the kept answer, owned; NULL = none */
};

struct redis_calls { /* a ring, oldest first; all zero = empty */
    struct redis_call *ring;
    size_t first, count, room;
    size_t kept; /* how many of the first have a kept answer */
};

/* Adds a call as the newest. */
void redis_calls_add(struct redis_calls *calls, redis_reply_fn *fn, void *ctx, uint64_t end);
/* Returns the call that the next answer is for; NULL if every call has its answer. Valid until the next
 * change. */
static inline struct redis_call *redis_calls_due(const struct redis_calls *calls)
{
    if (calls->count == calls->kept)
        return NULL;
    return &calls->ring[(calls->first + calls->kept) & (calls->room - 1)];
}
/* Keeps the answer of the call that is due; takes ownership. */
void redis_calls_keep(struct redis_calls *calls, redisReply *answer);
/* Removes the oldest call and delivers its kept answer. */
void redis_calls_deliver_kept(struct redis_calls *calls);
/* Removes the oldest call and delivers this answer (borrowed; NULL = unknown) instead of a kept one. */
void redis_calls_deliver(struct redis_calls *calls, const redisReply *answer);
/* Frees the memory of an empty ring. */
void redis_calls_free(struct redis_calls *calls);
