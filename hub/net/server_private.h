/* SPDX-License-Identifier: MIT */
/* What the files of the server share: the listening socket, TCP peers, HTTP, connections. Loop thread
 * only. */
#pragma once

#include "hub/base/list.h"
#include "hub/base/quota.h"
#include "hub/base/wheel.h"
#include "hub/net/guard.h"
#include "hub/net/head.h"
#include "hub/net/server.h"

#define SERVER_HEADER_BYTES 12288 /* of a request's head: a token and what is around it */
/* Read at once of a peer. What was kept of it comes in front: a part of a head, or, while it is not read,
 * what came with that. */
#define SERVER_READ_BYTES 16384
#define SERVER_INPUT_BYTES (SERVER_HEADER_BYTES + 2 * SERVER_READ_BYTES)

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
/* The peer has upgraded: from now on it is a connection. `token`: of its upgrade, or SPAN_NONE. `rest`: the
 * bytes that came behind, which are used up in place. */
struct peer;
void conn_open(struct conns *conns, struct peer *peer, struct span token, struct span rest);

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

/* What a peer is to those who read and write it. */
struct peer_role {
    /* UV_READABLE, UV_WRITABLE; UV_DISCONNECT: it is broken. May drop the peer. */
    void (*event)(struct peer *peer, int events);
    /* It is dropped: the last call. */
    void (*gone)(struct peer *peer);
};

struct peer { /* one TCP connection, WebSocket or HTTP */
    struct list node;
    enum peer_state state;
    struct list order; /* among those of its state, the oldest first; PEER_KNOWN: in none */
    uint64_t since;    /* mono ms: in its state, or the last request */
    struct listener *listener;
    const struct peer_role *role;
    struct exchange *exchange; /* of HTTP */
    struct conn *conn;         /* NULL while it speaks HTTP */
    uv_poll_t *poll;
    int fd, events; /* which of its socket are waited for */
    struct wheel_timer timer;
    uint64_t due;       /* mono ms: it is dropped, 0 = not */
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
    char *unix_path;                    /* to remove at the end, or NULL */
    void (*welcome)(struct peer *peer); /* gives a new peer its role */
    char name[160];                     /* as bound */
    uv_poll_t *poll;
    uint64_t full_since; /* mono ms: there is no room for who has not authenticated; 0 = there is */
    struct wheel wheel;  /* of peers that are dropped at a time */
    char *input;         /* SERVER_INPUT_BYTES, for the bytes of whichever peer is read */
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
/* From now on these events of its socket are waited for. */
void peer_watch(struct peer *peer, int events);
/* It is dropped in so many ms, unless this is called again; 0 = never. */
void peer_drop_in(struct peer *peer, uint64_t ms);
/* Closes its socket and frees it. */
void peer_drop(struct peer *peer);
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

/* ---- exchange.c: HTTP on a peer ----------------------------------------------------------------------- */
/* What a new peer is, until it has upgraded. */
void exchange_start(struct peer *peer);
/* Whether a part of an answer waits for its socket. */
bool exchange_answers(const struct peer *peer);

/* ---- http.c -------------------------------------------------------------------------------------- */
struct http_request {
    struct server *server;
    const struct peer *peer;
    const struct head *head;
    enum http_place place;
};
struct http_reply { /* all zero before */
    struct buf out; /* the whole answer */
    bool head;      /* it has no body, as HEAD was asked for */
    bool close;     /* the connection ends with it … */
    size_t body;    /* … once so many bytes have been read and thrown away */
};
/* The answer to a request that is no upgrade. */
void http_answer(const struct http_request *request, struct http_reply *reply);
/* The answer to an upgrade. True: from here on it is a WebSocket. */
bool http_upgrade(const struct http_request *request, struct http_reply *reply);
/* The answer to what is no request, or too long a one. */
void http_no_request(bool too_long, struct http_reply *reply);
/* Whether the request asks for /healthz or /readyz. */
bool http_is_probe(const struct head *head);
