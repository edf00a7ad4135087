/* SPDX-License-Identifier: MIT */
/* The socket of a Redis connection, without TLS, and the commands that wait for it; see redis_stream.h. */
#include "hub/redis/redis_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define LENT_MIN 1024           /* shorter words are copied: an extra piece of a writev costs more */
#define KEPT_BYTES (256u << 10) /* most memory to keep when all is written */
#define PIECES 128              /* most pieces of one writev */
#define HEAD_MAX 24             /* "$", digits, CR LF, and some spare bytes */

/* ---- the socket ---------------------------------------------------------------------------------- */

static ssize_t plain_read(struct redis_stream *stream, void *to, size_t size)
{
    return read(stream->fd, to, size);
}

static ssize_t plain_writev(struct redis_stream *stream, const struct iovec *pieces, int count)
{
    return writev(stream->fd, pieces, count);
}

/* Enables keep-alive, which detects after half a minute a peer that vanished silently. */
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

struct redis_out_word {
    const char *data;
    size_t size;
    size_t place; /* how many of the gathered bytes precede it */
};

/* ---- gathering ------------------------------------------------------------------------------------ */

/* Writes "*3\r\n" or "$5\r\n" and returns the position after it. */
static char *put_head(char *to, char kind, size_t number)
{
    char digits[20], *from = digits + sizeof digits;
    do
        *--from = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    size_t n = (size_t)(digits + sizeof digits - from);
    *to++ = kind;
    memcpy(to, from, n);
    memcpy(to + n, "\r\n", 2);
    return to + n + 2;
}

static void lend(struct redis_out *out, const char *word, size_t size)
{
    if (out->word_count == out->word_room) {
        out->word_room = out->word_room ? out->word_room * 2 : 16;
        out->words = xrealloc(out->words, out->word_room * sizeof *out->words);
    }
    out->words[out->word_count++] = (struct redis_out_word){word, size, out->bytes.len};
}

static void append_word(struct redis_out *out, const char *word, size_t size, bool lent)
{
    struct buf *bytes = &out->bytes;
    bool copied = !lent || size < LENT_MIN;
    char *start = buf_reserve(bytes, HEAD_MAX + (copied ? size : 0)), *to = put_head(start, '$', size);
    if (copied) {
        memcpy(to, word, size);
        to += size;
    } else {
        bytes->len += (size_t)(to - start);
        lend(out, word, size);
        start = to;
        out->taken += size;
    }
    memcpy(to, "\r\n", 2);
    bytes->len += (size_t)(to + 2 - start);
}

void redis_out_command(struct redis_out *out, int argc, const char *const *argv, const size_t *lengths,
                       bool lent)
{
    size_t before = out->bytes.len;
    char *start = buf_reserve(&out->bytes, HEAD_MAX);
    out->bytes.len += (size_t)(put_head(start, '*', (size_t)argc) - start);
    for (int i = 0; i < argc; i++)
        append_word(out, argv[i], lengths ? lengths[i] : strlen(argv[i]), lent);
    out->taken += out->bytes.len - before;
}

/* ---- writing -------------------------------------------------------------------------------------- */

struct pieces {
    struct iovec at[PIECES];
    int count;
    size_t total;
};

static void add_piece(struct pieces *pieces, const char *data, size_t size)
{
    if (size == 0)
        return;
    pieces->at[pieces->count++] = (struct iovec){(void *)(uintptr_t)data, size};
    pieces->total += size;
}

/* Collects the next pieces to write, in order. */
static void gather(const struct redis_out *out, struct pieces *pieces)
{
    size_t at = out->at, skip = out->word_sent, i = out->word_at;
    pieces->count = 0;
    pieces->total = 0;
    for (; i < out->word_count && pieces->count + 2 < PIECES; i++, skip = 0) {
        const struct redis_out_word *word = &out->words[i];
        add_piece(pieces, out->bytes.data + at, word->place - at);
        add_piece(pieces, word->data + skip, word->size - skip);
        at = word->place;
    }
    if (i == out->word_count)
        add_piece(pieces, out->bytes.data + at, out->bytes.len - at);
}

/* Counts `n` more bytes as written: the bytes before the next lent word, that word, and so on. */
static void advance(struct redis_out *out, size_t n)
{
    out->sent += n;
    for (; out->word_at < out->word_count; out->word_at++, out->word_sent = 0) {
        const struct redis_out_word *word = &out->words[out->word_at];
        size_t before = word->place - out->at, rest = word->size - out->word_sent;
        if (n < before)
            break;
        out->at = word->place;
        n -= before;
        if (n < rest) {
            out->word_sent += n;
            return;
        }
        n -= rest;
    }
    out->at += n;
}

static void forget_all(struct redis_out *out)
{
    out->at = out->word_at = out->word_sent = out->word_count = 0;
    buf_clear(&out->bytes);
    if (out->bytes.cap > KEPT_BYTES)
        buf_free(&out->bytes);
}

/* Drops written bytes while a rest waits, once they are many. */
static void compact(struct redis_out *out)
{
    if (out->at < KEPT_BYTES || out->at < out->bytes.len / 2)
        return;
    out->word_count -= out->word_at;
    memmove(out->words, out->words + out->word_at, out->word_count * sizeof *out->words);
    for (size_t i = 0; i < out->word_count; i++)
        out->words[i].place -= out->at;
    buf_consume(&out->bytes, out->at);
    out->at = out->word_at = 0;
}

int redis_out_flush(struct redis_out *out, struct redis_stream *stream)
{
    struct pieces pieces;
    while (!redis_out_empty(out)) {
        gather(out, &pieces);
        ssize_t n = stream->writev(stream, pieces.at, pieces.count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        advance(out, (size_t)n);
        if ((size_t)n < pieces.total) {
            compact(out);
            return EAGAIN;
        }
    }
    forget_all(out);
    return 0;
}

void redis_out_clear(struct redis_out *out)
{
    if (out->bytes.cap)
        sodium_memzero(out->bytes.data, out->bytes.cap);
    forget_all(out);
    out->taken = out->sent = 0;
}

void redis_out_free(struct redis_out *out)
{
    redis_out_clear(out);
    buf_free(&out->bytes);
    free(out->words);
    *out = (struct redis_out){0};
}

/* ---- commands whose answer was not delivered: a ring ---- */

static void grow(struct redis_calls *calls)
{
    size_t room = calls->room ? calls->room * 2 : 64;
    struct redis_call *ring = xcalloc(room, sizeof *ring);
    for (size_t i = 0; i < calls->count; i++)
        ring[i] = calls->ring[(calls->first + i) & (calls->room - 1)];
    free(calls->ring);
    calls->ring = ring;
    calls->room = room;
    calls->first = 0;
}

void redis_calls_add(struct redis_calls *calls, redis_reply_fn *fn, void *ctx, uint64_t end)
{
    if (calls->count == calls->room)
        grow(calls);
    calls->ring[(calls->first + calls->count++) & (calls->room - 1)] =
        (struct redis_call){fn, ctx, end, NULL};
}

void redis_calls_keep(struct redis_calls *calls, redisReply *answer)
{
    redis_calls_due(calls)->answer = answer;
    calls->kept++;
}

static struct redis_call pop_call(struct redis_calls *calls)
{
    struct redis_call call = calls->ring[calls->first];
    calls->first = (calls->first + 1) & (calls->room - 1);
    calls->count--;
    calls->kept -= call.answer != NULL;
    return call;
}

/* Delivers an answer. The callback may add calls and remove others. */
static void deliver(struct redis_call call, const redisReply *answer)
{
    if (call.fn)
        call.fn(call.ctx, answer);
    if (call.answer)
        freeReplyObject(call.answer);
}

void redis_calls_deliver_kept(struct redis_calls *calls)
{
    struct redis_call call = pop_call(calls);
    deliver(call, call.answer);
}

void redis_calls_deliver(struct redis_calls *calls, const redisReply *answer)
{
    deliver(pop_call(calls), answer);
}

void redis_calls_free(struct redis_calls *calls)
{
    free(calls->ring);
    *calls = (struct redis_calls){0};
}
