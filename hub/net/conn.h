/* SPDX-License-Identifier: MIT */
/* A WebSocket connection as the rest of the program sees it: who it is and a bounded outbox. Frames are built
 * at append time and leave in one write per turn. Loop thread only; nobody keeps a pointer beyond on_close.
 */
#pragma once

#include "hub/auth/auth.h"

struct conn;
struct event;
struct member;

/* What the layer above does with a connection. Every span is valid during the call only. */
struct conn_ops {
    void (*on_open)(struct conn *conn, struct span bearer_token); /* SPAN_NONE without one */
    void (*on_text)(struct conn *conn, struct span message);      /* one whole text message */
    void (*on_binary)(struct conn *conn, struct span message);    /* one whole binary message */
    void (*on_close)(struct conn *conn);                          /* last call; conn is freed after it */
};

/* server_config.app. */
void *conn_app(const struct conn *conn);

/* NULL before authentication. */
const struct principal *conn_who(const struct conn *conn);
/* Makes it this principal's connection (moves *who in), once. Checks connections per user: false (and *who
 * untouched) if that limit is reached. Starts the timers for auth.expiring and 4401. */
bool conn_set_who(struct conn *conn, struct principal *who) MUSTCHECK;
/* A refreshed token of the same user. */
void conn_refresh_who(struct conn *conn, struct principal *who);
/* Room for one pointer of the layer above (its per-connection state). */
void conn_set_user(struct conn *conn, void *user);
void *conn_user(const struct conn *conn);
/* Its place among those that hear an owner's events (hub/owners/owners.h), for conn == NULL and before
 * authentication NULL. It leaves when the connection closes. */
struct member *conn_member(const struct conn *conn);

/* Appends one text frame. Counted in the outbox; replies are must-deliver: exceeding the budget
 * closes with 4101. */
void conn_send(struct conn *conn, struct span text);
/* Where it stands, until on_close, up to which seq everything was given to this connection (0 before
 * owners_start()). */
const uint64_t *conn_given_seq(const struct conn *conn);
/* Appends an event's frame or, while a partial write is pending, keeps the event in the backlog where
 * the rules of its class apply. The log of an owner comes this way. */
void conn_send_event(struct conn *conn, struct event *event);
/* The same to a struct conn; `droppable`: it may be dropped (and is counted) while the connection is slow. */
void conn_send_to(void *conn, struct span text, bool droppable);
/* Whether the message being handled is within limits.messages_per_s and its burst. A connection far
 * beyond them is closed with 4429 without the layer above. */
bool conn_rate_ok(const struct conn *conn);
/* The peer's address as text, for log lines: "192.0.2.7", "unix". */
const char *conn_address(const struct conn *conn);

/* Sends a close frame behind what is queued and drops the connection soon after. Idempotent. */
void conn_close(struct conn *conn, unsigned code, const char *reason);
