/* SPDX-License-Identifier: MIT */
/* Raw bytes at the port of a real server behind which an echo is: requests, upgrades, frames. The first byte
 * of the input says in how large pieces the rest comes. Whatever came, the server answers in HTTP first, and
 * lets go of a client that has gone. */
#include "hub/base/log.h"
#include "hub/config/options_table.h"
#include "hub/net/server.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sodium.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TURNS_MAX 10000

static const struct sockaddr_un place = {AF_UNIX, "fuzz-http"};
static struct loop loop;
static struct options options;

static void *on_open(void *app, struct conn *conn, struct span token)
{
    (void)app, (void)token;
    return conn;
}

static void on_text(void *conn, struct span message, bool too_fast)
{
    if (!too_fast)
        conn_send(conn, message, false);
}

static void on_binary(void *conn, struct span message, bool too_fast)
{
    (void)too_fast;
    if (message.n > 4)
        conn_close(conn, 1003, "no sound here");
}

static void on_close(void *conn)
{
    conn_send(conn, SPAN("too late"), false);
}

static void open_server(void)
{
    char *why;
    HOLDS(sodium_init() >= 0 && loop_init(&loop) == 0);
    log_setup("fuzz", "error", "logfmt");
    option_fill_defaults(&options);
    free(options.listen);
    options.listen = xstrdup("unix:fuzz-http");
    HOLDS(server_new(
        &(struct server_config){&loop, &options, {on_open, on_text, on_binary, on_close}, NULL, NULL}, &why));
    while (uv_run(&loop.uv, UV_RUN_ONCE) && access(place.sun_path, F_OK) < 0)
        ;
}

/* Sends what it can of `out` and reads what there is. False once the server has closed. */
static bool talk(int fd, struct span *out, struct buf *in)
{
    ssize_t sent = out->n ? send(fd, out->p, out->n, MSG_NOSIGNAL) : 0;
    *out = span_from(*out, sent > 0 ? (size_t)sent : 0);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    ssize_t n = recv(fd, buf_reserve(in, 65536), 65536, 0);
    in->len += n > 0 ? (size_t)n : 0;
    return n > 0 || (n < 0 && errno == EAGAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf in = BUF_INIT;
    if (size < 2)
        return 0;
    if (options.listen == NULL)
        open_server();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    HOLDS(connect(fd, (const struct sockaddr *)&place, sizeof place) == 0);
    bool open = true;
    size_t step = (size_t)data[0] * 16 + 1;
    for (size_t at = 1; at < size && open; at += step) {
        struct span part = fuzz_span(data + at, step < size - at ? step : size - at);
        for (int turn = 0; turn < TURNS_MAX && part.n && open; turn++)
            open = talk(fd, &part, &in);
    }
    shutdown(fd, SHUT_WR);
    int turns = 0;
    while (open && turns++ < TURNS_MAX)
        open = talk(fd, &(struct span){"", 0}, &in);
    HOLDS(!open);
    close(fd);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    HOLDS(in.len == 0 || span_begins(buf_span(&in), "HTTP/1.1 "));
    buf_free(&in);
    return 0;
}
