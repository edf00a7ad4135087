/* SPDX-License-Identifier: MIT */
/* What a Redis connection reads from and writes to: a socket and two functions, so that tests can cut writes
 * short and TLS can be another pair. Never blocks. Loop thread only. */
#pragma once

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
