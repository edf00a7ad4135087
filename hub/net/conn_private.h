/* What the files of the server share about connections; see conn.h for the promise to others. Loop
 * thread only. */
#pragma once

#include "hub/base/loop.h"
#include "hub/base/table.h"
#include "hub/config/options.h"
#include "hub/net/conn.h"
#include "hub/net/outbox.h"
#include "hub/owners/owners.h"

struct lws;
struct peer;

#define CONN_TICK_MS 100
#define CONN_PING_MS 25000               /* nothing heard for so long: ping */
#define CONN_HANGUP_MS 40000             /* … and hang up */
#define CONN_MESSAGE_MS 30000            /* a message must be whole by then */
#define CONN_PIECES_MAX 2048             /* of one message: a flood of tiny fragments ends here */
#define CONN_UNAUTHENTICATED_BYTES 16384 /* of a message before authentication */
#define CONN_CLOSE_MS 3000               /* for the peer to answer a close frame */
#define CONN_SPARES 64                   /* buffers kept for the next connection that needs one … */
#define CONN_SPARE_BYTES 32768           /* … if they are not larger */

struct conn_user { /* connections of one principal on this hub */
    struct table_node node;
    unsigned count;
    char id[USER_ID_MAX + 1];
};

struct conn {
    struct conns *conns;
    struct lws *wsi; /* NULL once the library has closed it */
    struct peer *peer;
    struct list dirty; /* in conns->dirty while something must be written */
    uint32_t slot;
    bool closing; /* a close frame is queued: nothing more goes out or comes in */
    bool kill;    /* drop the TCP connection at the end of the turn */
    bool rate_ok; /* the message being handled is within the limit */
    bool told_expiring;
    bool pinged;
    bool in_binary; /* kind of the unfinished message */
    struct outbox outbox;
    struct buf in;       /* the unfinished message */
    unsigned pieces;     /* of it */
    int64_t rate_tokens; /* thousandths of a message */
    uint64_t rate_at;
    uint64_t heard_at;                                                   /* something came */
    uint64_t message_due, auth_due, expiring_due, expiry_due, close_due; /* mono ms, 0 = none */
    struct conn_user *user;                                              /* NULL before authentication */
    struct principal who;
    struct member *member; /* NULL before authentication */
    void *layer;
};

struct conns {
    struct loop *loop;
    const struct options *options;
    struct conn_ops ops;
    void *app;
    struct conn_slot {
        struct conn *conn; /* NULL = free */
        uint64_t due;      /* mono ms of the next thing to look at */
        uint32_t generation, next_free;
    } * slots;
    uint32_t slot_count, free_slot; /* free_slot == slot_count: none */
    size_t count;
    struct list dirty, dead;
    struct table users;
    struct buf spares[CONN_SPARES];
    size_t spare_count;
};

/* conn.c: how the log of an owner reaches a connection. */
extern const struct member_ops conn_member_ops;

/* conns.c: the table, buffers, deadlines. */
struct conns *conns_new(struct loop *loop, const struct options *options, struct conn_ops ops, void *app);
void conns_free(struct conns **conns);
struct conn *conn_new(struct conns *conns, struct lws *wsi, struct peer *peer);
/* Gives the slot back and frees the connection at the end of the turn. */
void conn_free(struct conn *conn);
uint64_t conns_now(const struct conns *conns);
/* Recomputes when conns_tick() must look at the connection. */
void conn_schedule(struct conn *conn);
/* Every CONN_TICK_MS. */
void conns_tick(struct conns *conns);
void conn_mark_dirty(struct conn *conn);
/* A buffer with memory to reuse, and its way back. */
struct buf conns_take_buf(struct conns *conns);
void conns_give_buf(struct conns *conns, struct buf *buf);

/* conn_in.c: one piece of a message came; `left` payload bytes of its frame are still to come. */
struct conn_piece {
    struct span data;
    size_t left;
    bool first, final, binary;
};
void conn_receive(struct conn *conn, struct conn_piece piece);
/* Something was heard of the peer (a pong). */
void conn_heard(struct conn *conn);

/* ws.c: writes what is ready. */
void ws_flush(struct conn *conn);
/* Drops the TCP connection; on_close runs within. Never from a callback of the library: it arms no
 * timer then, and the connection is in use. */
void ws_drop(struct conn *conn);
/* server.c: the peer authenticated; text of its address. */
void peer_authenticated(struct peer *peer);
const char *peer_address(const struct peer *peer);
