/* The socket below a Redis connection. What is above reads and writes by the two functions alone: TLS would
 * be another pair of them. Never blocks, watches nothing. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct redis_stream {
    int fd; /* -1 = closed */
    /* As read(2) and writev(2): -1 and errno, EAGAIN = nothing now. A read that gives less than it was asked
     * for took all there was. */
    ssize_t (*read)(struct redis_stream *stream, void *to, size_t size);
    ssize_t (*writev)(struct redis_stream *stream, const struct iovec *pieces, int count);
};

#define REDIS_STREAM_CLOSED ((struct redis_stream){.fd = -1})

/* Begins to connect; it becomes writable when that is decided. 0 or an errno, then it is closed. */
int redis_stream_connect(struct redis_stream *stream, const struct sockaddr *address, socklen_t size);
/* The same to a socket in the file system. */
int redis_stream_connect_path(struct redis_stream *stream, const char *path);
/* How connecting came out: 0 or an errno. */
int redis_stream_outcome(const struct redis_stream *stream);
void redis_stream_close(struct redis_stream *stream);
