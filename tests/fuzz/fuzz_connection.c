/* SPDX-License-Identifier: MIT */
/* A connection at a real server whose Redis says nothing: frames, and a session before and in auth. The first
 * byte of the input: 1 a good token comes with the upgrade, 2 Redis hangs. Frames end with 0x1e; an empty one
 * is an auth with a good token; one that begins below 16 or above 127 brings its own first byte. Only with a
 * good token is anything done. */
#include "handlers/session/session.h"
#include "hub/base/clock.h"
#include "hub/net/server.h"
#include "tests/fuzz/hub.h"

#include <sodium.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD                                                                                                 \
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                           \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nAuthorization: %s "         \
    "%s\r\n\r\n"
static const struct sockaddr_un place = {AF_UNIX, "fuzz-connection"};
static char *token;

static void open_server(void)
{
    char *why;
    int64_t now = clock_wall_ms() / 1000;
    HOLDS(sodium_init() >= 0);
    start_once();
    app_start(&app);
    free(options.listen);
    options.listen = xstrdup("unix:fuzz-connection");
    app.bearers = bearers_new();
    app.keyring = keyring_parse(SPAN("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"), &why);
    token = auth_sign(app.keyring, &(struct auth_claims){"u", "taskhub", NULL, 0, now, now + 36000});
    HOLDS(server_new(&(struct server_config){&loop, &options, session_conn_ops(), &app, NULL}, &why));
}

/* Sends this and reads what there is. False once the server has closed. */
static bool talk(int fd, struct buf *out, struct buf *in)
{
    ssize_t n = send(fd, out->data, out->len, MSG_NOSIGNAL);
    buf_consume(out, n > 0 ? (size_t)n : 0);
    for (int turn = 0; turn < 16; turn++)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    n = recv(fd, buf_reserve(in, 65536), 65536, 0);
    in->len += n > 0 ? (size_t)n : 0;
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static void put_frame(struct buf *to, unsigned first, struct span data)
{
    const char head[] = {(char)first, (char)0xfe, (char)(data.n >> 8), (char)data.n};
    buf_append(to, data.n < 126 ? (char[]){(char)first, (char)(0x80 | data.n)} : head, data.n < 126 ? 2 : 4);
    buf_append(to, "\0\0\0", 4); /* the mask */
    buf_append_span(to, data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out = BUF_INIT, in = BUF_INIT;
    char auth[512];
    bool known = size && data[0] & 1;
    if (token == NULL)
        open_server();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    HOLDS(connect(fd, (const struct sockaddr *)&place, sizeof place) == 0);
    buf_printf(&out, HEAD, known ? "Bearer" : "Basic", token);
    talk(fd, &out, &in);
    snprintf(auth, sizeof auth, CALL("0", "auth", "{\"token\":\"%s\"}"), token);
    for (size_t at = 1, n; at < size; at += n + 1) {
        const uint8_t *end = memchr(data + at, 0x1e, size - at);
        n = end ? (size_t)(end - data) - at : size - at;
        bool own = n && (data[at] < 16 || data[at] > 127);
        put_frame(&out, own ? data[at] : 0x81, n ? fuzz_span(data + at + own, n - own) : span_of(auth));
        known |= n == 0 || (own && data[at] & 8); /* the server says again what a control frame says */
    }
    talk(fd, &out, &in);
    if (size && data[0] & 2)
        requests_stalled(app.requests);
    shutdown(fd, SHUT_WR);
    while (talk(fd, &out, &in) || manager_load(app.manager))
        ;
    close(fd);
    buf_append_char(&in, '\0');
    HOLDS(known || strstr(in.data, "\"result\":") == NULL);
    buf_free(&out);
    buf_free(&in);
    return 0;
}
