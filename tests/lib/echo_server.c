/* SPDX-License-Identifier: MIT */
/* The hub's server (sockets, guard, connections, HTTP) with an echo behind it: the vehicle of the tests
 * in tests/scenarios/test_ws_guard.py and of measurements. Takes the hub's options; prints its address.
 *
 * Text messages: "auth USER [SECONDS]" authenticates, "close CODE", "text N" answers N bytes, "events
 * FROM TO CLASS" sends events A (must), S (bounded) or P (latest); everything else is echoed. With
 * "--echo" as the first argument everybody is authenticated at once and everything is echoed. */
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/net/server.h"
#include "hub/owners/event.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>

static struct {
    struct loop loop;
    struct server *server;
    bool echo, drained;
} me;

static bool authenticate(struct conn *conn, const char *user, int64_t seconds)
{
    struct principal who = {.expires_at = clock_wall_ms() / 1000 + seconds};
    who.user_id = xstrdup(user);
    if (conn_who(conn)) {
        conn_refresh_who(conn, &who);
        return true;
    }
    if (conn_set_who(conn, &who))
        return true;
    principal_clear(&who);
    conn_close(conn, 4429, "too many connections");
    return false;
}

static void *on_open(void *app, struct conn *conn, struct span token)
{
    char user[64];
    (void)app;
    if (me.echo) {
        (void)authenticate(conn, "echo", 100000);
    } else if (token.p) {
        snprintf(user, sizeof user, "%.*s", SPAN_ARG(token));
        if (authenticate(conn, user, 100000))
            conn_send(conn, SPAN("welcome"), false);
    }
    return conn;
}

static void send_events(struct conn *conn, unsigned from, unsigned to, char code)
{
    char body[512];
    memset(body, 'x', sizeof body);
    memcpy(body, "{\"pad\":\"", 8);
    memcpy(body + sizeof body - 2, "\"}", 2);
    for (unsigned seq = from; seq <= to; seq++) {
        bool latest = event_type_by_code(code)->class == EVENT_LATEST;
        struct event *event =
            event_new(code, latest ? 0 : seq, latest ? seq : 0, 1,
                      SPAN("01980000-0000-7000-8000-000000000000"), (struct span){body, sizeof body});
        conn_send_event(conn, event);
        event_unref(&event);
    }
}

static void on_text(void *layer, struct span message, bool too_fast)
{
    struct conn *conn = layer;
    char text[128], user[64], code;
    unsigned from, to;
    long seconds = 3600;
    (void)too_fast;
    if (me.echo) {
        conn_send(conn, message, false);
        return;
    }
    snprintf(text, sizeof text, "%.*s", SPAN_ARG(message));
    if (sscanf(text, "auth %63s %ld", user, &seconds) >= 1) {
        if (authenticate(conn, user, seconds))
            conn_send(conn, SPAN("welcome"), false);
    } else if (sscanf(text, "close %u", &from) == 1) {
        conn_close(conn, from, "as you wish");
    } else if (sscanf(text, "text %u", &from) == 1) {
        char *big = xmalloc(from);
        memset(big, 'x', from);
        conn_send(conn, (struct span){big, from}, false);
        free(big);
    } else if (sscanf(text, "events %u %u %c", &from, &to, &code) == 3) {
        send_events(conn, from, to, code);
    } else {
        conn_send(conn, conn_who(conn) ? message : SPAN("who are you?"), false);
    }
}

static void on_binary(void *layer, struct span message, bool too_fast)
{
    char text[64];
    (void)too_fast;
    int n = snprintf(text, sizeof text, "%zu bytes", message.n);
    conn_send(layer, (struct span){text, (size_t)n}, false);
}

static void on_close(void *layer)
{
    (void)layer;
}

static void on_drained(void *ctx)
{
    (void)ctx;
    me.drained = true;
    uv_stop(&me.loop.uv);
}

static void on_term(uv_signal_t *signal, int number)
{
    (void)number;
    uv_signal_stop(signal);
    server_drain(me.server, 2000, on_drained, NULL);
}

int main(int argc, char **argv)
{
    struct options options;
    char *reason = NULL;
    int rest;
    me.echo = argc > 1 && strcmp(argv[1], "--echo") == 0;
    log_setup("echo_server", "info", "logfmt");
    if (sodium_init() < 0 || loop_init(&me.loop) < 0)
        return 1;
    if (!options_load(&options, argc - me.echo, argv + me.echo, NULL, &rest, &reason)) {
        fprintf(stderr, "%s\n", reason);
        return 2;
    }
    struct server_config config = {
        .loop = &me.loop, .options = &options, .ops = {on_open, on_text, on_binary, on_close}, .app = &me};
    me.server = server_new(&config, &reason);
    if (me.server == NULL) {
        fprintf(stderr, "%s\n", reason);
        return 1;
    }
    printf("%s\n", server_address(me.server));
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN);
    loop_signals(&me.loop, (const int[]){SIGTERM, 0}, on_term, &me.loop);
    uv_run(&me.loop.uv, UV_RUN_DEFAULT);
    server_free(&me.server);
    int rc = loop_deinit(&me.loop);
    if (rc < 0)
        fprintf(stderr, "handles left: %s\n", uv_strerror(rc));
    options_free(&options);
    return me.drained ? 0 : 1;
}
