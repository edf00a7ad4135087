/* SPDX-License-Identifier: MIT */
/* What the files of the server share: the listening socket, TCP peers, libwebsockets, HTTP. Loop thread
 * only. */
#pragma once

#include "hub/base/list.h"
#include "hub/base/quota.h"
#include "hub/net/guard.h"
#include "hub/net/server.h"

#include <libwebsockets.h>

#define SERVER_HEADER_BYTES 12288 /* of a request's head: a token and what is around it */

/* ---- conn.c: connections and their table --------------------------------------------------------- */
struct conns *conns_new(struct loop *loop, const struct options *options, struct conn_ops ops, void *app);
void conns_free(struct conns **conns);
size_t conns_count(const struct conns *conns);
/* Ten times a second: looks at those of whom something is due. */
void conns_tick(struct conns *conns);
/* Sends a text to all of them. */
void conns_send(struct conns *conns, struct span text);
/* Closes `count` that are open; O(connections). */
void conns_close(struct conns *conns, size_t count, unsigned code, const char *reason);
/* The callback of the one protocol. */
int conn_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);

/* What its connection has for a request. */
enum http_place {
    HTTP_NO_PLACE,   /* nothing: it is refused */
    HTTP_ONE_ANSWER, /* a place for probes, which the next one wants */
    HTTP_STAYS,
};

/* ---- listener.c: the listening socket and TCP peers ---------------------------------------------- */
enum peer_state {
    PEER_NEW,   /* has not authenticated: has said nothing yet, or upgraded */
    PEER_HTTP,  /* has asked over HTTP */
    PEER_KNOWN, /* authenticated */
    PEER_GOING, /* makes room for another one */
};

struct peer { /* one TCP connection, WebSocket or HTTP */
    struct list node;
    enum peer_state state;
    unsigned body;     /* bytes that were read of the body of its request */
    struct list order; /* among those of its state, the oldest first; PEER_KNOWN: in none */
    uint64_t since;    /* mono ms: in its state, or the last request */
    struct listener *listener;
    struct lws *wsi;
    struct conn *conn;  /* NULL while it speaks HTTP */
    struct charge seat; /* among all; of the reserve where there was only a place for probes */
    struct charge address;
    struct charge place, address_place; /* of PEER_NEW or PEER_HTTP */
};

enum listener_state {
    LISTENER_CLOSED,    /* not open yet, or stopped */
    LISTENER_PAUSED,    /* connections wait in the kernel's queue */
    LISTENER_ACCEPTING, /* takes whatever comes */
    LISTENER_CROWDED,   /* the same, but waiting did not help: for each one too many the oldest goes */
};

struct listener {
    struct server *server;
    enum listener_state state;
    int fd;
    char *unix_path; /* to remove at the end, or NULL */
    char name[160];  /* as bound */
    uv_poll_t poll;
    uint64_t full_since; /* mono ms: there is no room for who has not authenticated; 0 = there is */
    uint64_t looked_at;  /* mono ms: the library looked at its timers */
    struct list peers, newcomers, http, going;
    struct quota all, reserve, unauthenticated, http_peers;
    struct quota addresses, address_newcomers;
    size_t max; /* of all */
};
/* Opens the socket of options->listen, or takes the one that systemd handed over. Connections come from the
 * next tick on. */
bool listener_open(struct listener *listener, struct server *server, char **ret_reason) MUSTCHECK;
void listener_stop(struct listener *listener);
/* What is left of a stopped one when its peers are gone. */
void listener_free(struct listener *listener);
/* Ten times a second. */
void listener_tick(struct listener *listener);
/* The library has let go of the connection. */
void peer_free(struct peer *peer);
/* Its place for a request over HTTP, or for an upgrade to WebSocket. `probe`: the request asks whether the
 * hub lives or is ready, for which there always is one. */
enum http_place peer_asks(struct peer *peer, bool probe);
enum http_place peer_upgrades(struct peer *peer);
/* It counts as unauthenticated no longer. */
void peer_authenticated(struct peer *peer);
/* Its address as text, for log lines. */
const char *peer_address(const struct peer *peer);

/* ---- server.c ------------------------------------------------------------------------------------ */

struct server {
    struct server_config config;
    struct conns *conns;
    struct listener listener;
    struct lws_context *context;
    struct lws_vhost *vhost;
    char *origins;       /* allowed, separated by spaces */
    char *hosts;         /* the same; NULL = any */
    char *metrics_token; /* NULL = /metrics is for this machine alone */
    uv_timer_t *tick, *drain;
    size_t most;        /* connections at once since memory was given back */
    unsigned few_ticks; /* for so many of them there have been far fewer */
    bool draining;
    uint64_t drain_until;
    size_t drain_batch;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ---- http.c -------------------------------------------------------------------------------------- */
/* Answers a request that is no upgrade. */
int http_request(struct server *server, struct lws *wsi, enum http_place place);
/* Another piece of a body came. */
int http_body(struct lws *wsi, size_t size);
/* Checks an upgrade: 0 = go on, else an answer was sent. */
int http_upgrade(struct server *server, struct lws *wsi, enum http_place place);
/* Whether the request asks for /healthz or /readyz. */
bool http_is_probe(struct lws *wsi);
/* The value of a header in `buf`, SPAN_NONE if there is none; too long a value comes out as "". */
struct span http_header(struct lws *wsi, enum lws_token_indexes token, char *buf, size_t size);
