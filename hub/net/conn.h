/* SPDX-License-Identifier: MIT */
/* A WebSocket connection as the rest of the program sees it: who it is and a bounded outbox. Frames are built
 * at append time and leave in one write per turn. Loop thread only; nobody keeps a pointer beyond on_close.
 */
#pragma once

#include "hub/auth/principal.h"

struct conn;
struct event;
struct load;
struct member;

/* What the layer above does with a connection. Every span is valid during the call only. */
struct conn_ops {
    /* It is open. `app` is server_config.app; the token of its upgrade is SPAN_NONE if there was none. Gives
     * what the other functions get as `layer`: what that layer keeps for this connection. */
    void *(*on_open)(void *app, struct conn *conn, struct span bearer_token);
    /* One whole message; `too_fast`: it is beyond limits.messages_per_s and its burst. A connection far
     * beyond them is closed with 4429 instead. */
    void (*on_text)(void *layer, struct span message, bool too_fast);
    void (*on_binary)(void *layer, struct span message, bool too_fast);
    /* The last call; the connection is freed after it. */
    void (*on_close)(void *layer);
};

/* NULL before authentication. */
const struct principal *conn_who(const struct conn *conn);
/* Makes it this principal's connection (moves *who in), once. Gives its place among those that hear an
 * owner's events (hub/owners/owners.h), which it leaves when it closes; NULL (and *who untouched) if the user
 * has as many connections as he may. Starts the timers for auth.expiring and 4401. */
struct member *conn_set_who(struct conn *conn, struct principal *who) MUSTCHECK;
/* A refreshed token of the same user. */
void conn_refresh_who(struct conn *conn, struct principal *who);

/* Appends one text frame to what waits for this struct conn. `droppable`: it may be dropped (and is counted)
 * while the connection is slow; beyond the budget of the outbox, anything else closes it with 4101. */
void conn_send(void *conn, struct span text, bool droppable);
/* Where it stands, until on_close, up to which seq everything was given to this connection (0 before
 * owners_start()). */
const uint64_t *conn_given_seq(const struct conn *conn);
/* Appends an event's frame or, while a partial write is pending, keeps the event in the backlog where
 * the rules of its class apply. The log of an owner comes this way. */
void conn_send_event(void *conn, struct event *event);
/* What it and its requests hold (hub/base/load.h); who keeps it beyond on_close takes a reference. */
struct load *conn_load(const struct conn *conn);
/* The peer's address as text, for log lines: "192.0.2.7", "unix". */
const char *conn_address(const struct conn *conn);

/* Sends a close frame behind what is queued and drops the connection soon after. Idempotent. */
void conn_close(struct conn *conn, unsigned code, const char *reason);
