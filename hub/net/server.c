/* SPDX-License-Identifier: MIT */
/* The server as a whole: the tick, draining, teardown; see server.h. Loop thread only. */
#include "hub/net/server.h"

#include "hub/base/file.h"
#include "hub/base/log.h"
#include "hub/net/outbox.h"
#include "hub/net/server_private.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/resource.h>

#define TICK_MS 100
#define DRAIN_TICK_MS 50
#define CLOSE_DRAINING 4100   /* reconnect elsewhere */
#define SPARE_DESCRIPTORS 128 /* for Redis, files, pipes, children */

/* ---- start ------------------------------------------------------------------------------------------ */
/* Sets the limit of descriptors to what is needed. Returns the number of connections that fit. */
static size_t limit_descriptors(size_t connections)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return connections;
    rlim_t want = connections + SPARE_DESCRIPTORS;
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || want < limit.rlim_max ? want : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warn("cannot set the limit of file descriptors");
    if (limit.rlim_cur >= want)
        return connections;
    size_t fit =
        limit.rlim_cur > 2 * SPARE_DESCRIPTORS ? limit.rlim_cur - SPARE_DESCRIPTORS : limit.rlim_cur / 2;
    log_info("fewer connections than limits.connections fit the limit of file descriptors", "connections",
             LOG_NUM(fit));
    return fit;
}

/* The Origins allowed by default: where we listen, and this machine under its usual names. */
static char *default_origins(const char *name)
{
    const char *port = strrchr(name, ':');
    if (strncmp(name, "unix:", 5) == 0 || port == NULL)
        return xstrdup("");
    return xasprintf("http://%s http://localhost%s http://127.0.0.1%s", name, port, port);
}

static bool on_loopback(const char *name)
{
    return strncmp(name, "127.", 4) == 0 || strncmp(name, "[::1]", 5) == 0 ||
           strncmp(name, "localhost:", 10) == 0;
}

/* The names under which pages are served: where only this machine reaches us, a page of another name (whose
 * owner made it lead here) must not read them. What is an allowed origin is an allowed name. NULL: any. */
static char *allowed_hosts(const struct options *options, const char *address, const char *origins)
{
    if (*options->http_hosts == '\0' && !on_loopback(address))
        return NULL;
    struct buf hosts = BUF_INIT;
    buf_printf(&hosts, "localhost %s", options->http_hosts);
    for (struct span rest = span_of(origins); rest.n;) {
        struct span origin = span_cut(&rest, ' ');
        const char *name = memmem(origin.p, origin.n, "://", 3);
        if (name == NULL)
            continue;
        struct span host = span_from(origin, (size_t)(name + 3 - origin.p));
        buf_append_char(&hosts, ' ');
        buf_append_span(&hosts, span_cut(&host, ':'));
    }
    return buf_take_string(&hosts);
}

#define TOKEN_SIZE 4097

/* *ret_token from the first line of the file; NULL if there is no path. False and *ret_reason on failure. */
static bool read_token(const char *path, char **ret_token, char **ret_reason)
{
    char text[TOKEN_SIZE];
    *ret_token = NULL;
    if (*path == '\0')
        return true;
    ssize_t n = file_read(path, text, sizeof text);
    if (n < 0) {
        *ret_reason = xasprintf("option metrics.token_file: %s: %s", path, strerror(errno));
        return false;
    }
    text[n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (*text == '\0' || strpbrk(text, " \t")) {
        *ret_reason = xasprintf("option metrics.token_file: %s: its first line is no token", path);
        return false;
    }
    *ret_token = xstrdup(text);
    return true;
}

/* ---- memory of connections that are gone -------------------------------------------------------------- */
#define TRIM_CONNECTIONS 256 /* so many fewer than there were, and half of them … */
#define TRIM_TICKS 20        /* … for so long: they do not come back at once */

/* The allocator keeps what thousands of small objects lay in; it is asked to give it back while little goes
 * on, since that takes milliseconds. */
static void trim_memory(struct server *server)
{
    size_t now = server->listener.all.used;
    if (now > server->most)
        server->most = now;
    bool few = now <= server->most / 2 && server->most - now >= TRIM_CONNECTIONS;
    server->few_ticks = few ? server->few_ticks + 1 : 0;
    if (server->few_ticks < TRIM_TICKS)
        return;
    malloc_trim(0);
    server->most = now;
    server->few_ticks = 0;
}

/* ---- the whole -------------------------------------------------------------------------------------- */
static void on_tick(uv_timer_t *timer)
{
    struct server *server = timer->data;
    listener_tick(&server->listener);
    conns_tick(server->conns);
    trim_memory(server);
}

struct server *server_new(const struct server_config *config, char **ret_reason)
{
    struct server *server = xcalloc(1, sizeof *server);
    server->config = *config;
    if (!read_token(config->options->metrics_token_file, &server->metrics_token, ret_reason) ||
        !listener_open(&server->listener, server, ret_reason)) {
        free(server->metrics_token);
        free(server);
        return NULL;
    }
    server->listener.max = limit_descriptors((size_t)config->options->connections);
    server->conns = conns_new(config->loop, config->options, config->ops, config->app);
    server->listener.welcome = exchange_start;
    server->tick = loop_timer(config->loop, server);
    server->drain = loop_timer(config->loop, server);
    uv_timer_start(server->tick, on_tick, TICK_MS, TICK_MS);
    const char *origins = config->options->origins;
    server->origins = origins && origins[0] ? xstrdup(origins) : default_origins(server->listener.name);
    server->hosts = allowed_hosts(config->options, server->listener.name, server->origins);
    return server;
}

const char *server_address(const struct server *server)
{
    return server->listener.name;
}

/* ---- draining ---------------------------------------------------------------------------------------- */
/* Answers under way end; what is idle, or late, is dropped. */
static void drop_peers(struct server *server, bool all)
{
    list_for_each_safe (node, after, &server->listener.peers) {
        struct peer *peer = container_of(node, struct peer, node);
        if (all || (peer->conn == NULL && !exchange_answers(peer)))
            peer_drop(peer);
    }
}

static void on_drain(uv_timer_t *timer)
{
    struct server *server = timer->data;
    conns_close(server->conns, server->drain_batch, CLOSE_DRAINING, "draining");
    bool late = uv_now(timer->loop) >= server->drain_until;
    if (late || conns_count(server->conns) == 0)
        drop_peers(server, late);
    if (late || server->listener.all.used == 0) {
        uv_timer_stop(timer);
        server->drained(server->drained_ctx);
    }
}

void server_drain(struct server *server, unsigned timeout_ms, void (*fn)(void *ctx), void *ctx)
{
    size_t count = conns_count(server->conns);
    char text[128];
    server->draining = true;
    server->drained = fn;
    server->drained_ctx = ctx;
    server->drain_until = uv_now(&server->config.loop->uv) + timeout_ms;
    /* Half of the time to close everybody; clients come back within a second per 1,000 of them. */
    unsigned ticks = timeout_ms / 2 / DRAIN_TICK_MS;
    server->drain_batch = count / (ticks ? ticks : 1) + 1;
    int n = snprintf(text, sizeof text,
                     "{\"jsonrpc\":\"2.0\",\"method\":\"hub.draining\",\"params\":{\"retry_ms\":[100,%zu]}}",
                     500 + count);
    listener_stop(&server->listener);
    conns_send(server->conns, (struct span){text, (size_t)n});
    uv_timer_start(server->drain, on_drain, DRAIN_TICK_MS, DRAIN_TICK_MS);
}

/* ---- teardown ------------------------------------------------------------------------------------------ */
void server_free(struct server **server)
{
    struct server *dying = *server;
    if (dying == NULL)
        return;
    *server = NULL;
    listener_stop(&dying->listener);
    loop_close(dying->tick);
    loop_close(dying->drain);
    drop_peers(dying, true);
    conns_free(&dying->conns);
    listener_free(&dying->listener);
    free(dying->origins);
    free(dying->hosts);
    free(dying->metrics_token);
    free(dying);
}
