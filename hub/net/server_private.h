/* What the files of the server share: the listening socket, TCP peers, libwebsockets, HTTP. Loop thread
 * only. */
#pragma once

#include "hub/net/conn_private.h"
#include "hub/net/guard.h"
#include "hub/net/server.h"

#include <libwebsockets.h>

#define SERVER_HEADER_BYTES 8192 /* of a request's head */

struct listener;

struct address { /* one address that has connections here */
    struct table_node node;
    unsigned count;
    bool exempt; /* loopback and unix sockets have no limit per address */
    char text[64];
};
struct peer { /* one TCP connection, WebSocket or HTTP */
    struct list node;
    struct listener *listener;
    struct address *address;
    struct lws *wsi;
    struct conn *conn;    /* NULL while it speaks HTTP */
    bool unauthenticated; /* counted in listener->unauthenticated */
};

struct listener {
    struct server *server;
    int fd;
    char *unix_path; /* to remove at the end, or NULL */
    char name[160];  /* as bound */
    uv_poll_t poll;
    bool accepting, refusing;
    uint64_t paused_at; /* mono ms, 0 = not paused */
    uint64_t looked_at; /* mono ms: the library looked at its timers */
    struct table addresses;
    struct list peers;
    size_t count, unauthenticated, max;
};
/* Opens the socket of options->listen, or takes the one that systemd handed over. */
bool listener_open(struct listener *listener, struct server *server, char **ret_reason) MUSTCHECK;
void listener_stop(struct listener *listener);
void listener_tick(struct listener *listener);
/* The library has let go of the connection. */
void peer_free(struct peer *peer);

struct server {
    struct server_config config;
    struct conns *conns;
    struct listener listener;
    struct lws_context *context;
    struct lws_vhost *vhost;
    char *origins; /* allowed, separated by spaces */
    uv_timer_t tick, drain;
    unsigned open_timers;
    bool draining;
    uint64_t drain_until;
    uint32_t drain_slot; /* next to close */
    size_t drain_batch;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ws.c: the callback of the one protocol. */
int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);

/* http.c */
struct http_answer {
    unsigned status;
    const char *type;   /* media type */
    struct span body;   /* borrowed until sent */
    const char *etag;   /* quoted, or NULL */
    const char *header; /* one more line with its end, or NULL */
    bool close;         /* end the connection */
    bool head;          /* leave the body out */
};
/* Sends it whole; gives what the callback of libwebsockets must return. */
int http_send(struct lws *wsi, const struct http_answer *answer);
/* {"detail":…,"code":…} */
int http_send_error(struct lws *wsi, struct guard_verdict verdict);
/* Answers a request that is no upgrade. */
int http_request(struct server *server, struct lws *wsi);
/* Checks an upgrade: 0 = go on, else an answer was sent. */
int http_upgrade(struct server *server, struct lws *wsi);
/* The value of a header in `buf`, SPAN_NONE if there is none; too long a value comes out as "". */
struct span http_header(struct lws *wsi, enum lws_token_indexes token, char *buf, size_t size);
