/* SPDX-License-Identifier: MIT */
/* The socket of a Redis connection, without TLS; see redis_stream.h. */
#include "hub/redis/redis_stream.h"

#include "hub/base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static ssize_t plain_read(struct redis_stream *stream, void *to, size_t size)
{
    return read(stream->fd, to, size);
}

static ssize_t plain_writev(struct redis_stream *stream, const struct iovec *pieces, int count)
{
    return writev(stream->fd, pieces, count);
}

/* Keep-alive notices after half a minute a peer that went away without a word. */
static void set_tcp(int fd)
{
    static const int options[][3] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 15},
        {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 3},
    };
    for (size_t i = 0; i < NELEMS(options); i++)
        setsockopt(fd, options[i][0], options[i][1], &options[i][2], sizeof options[i][2]);
}

void redis_stream_close(struct redis_stream *stream)
{
    if (stream->fd >= 0)
        close(stream->fd);
    *stream = REDIS_STREAM_CLOSED;
}

int redis_stream_connect(struct redis_stream *stream, const struct sockaddr *address, socklen_t size)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    *stream = (struct redis_stream){fd, plain_read, plain_writev};
    if (address->sa_family != AF_UNIX)
        set_tcp(fd);
    if (connect(fd, address, size) == 0 || errno == EINPROGRESS)
        return 0;
    int error = errno;
    redis_stream_close(stream);
    return error;
}

int redis_stream_connect_path(struct redis_stream *stream, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n >= sizeof address.sun_path)
        return ENAMETOOLONG;
    memcpy(address.sun_path, path, n);
    return redis_stream_connect(stream, (const struct sockaddr *)&address, sizeof address);
}

int redis_stream_outcome(const struct redis_stream *stream)
{
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}
