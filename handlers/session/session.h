/* SPDX-License-Identifier: MIT */
/* One open connection and its way in: from a stranger to somebody who hears the owner's events. Loop thread;
 * freed when the connection has closed and the last request of it has let go. */
#pragma once

#include "handlers/rpc/app.h"
#include "hub/auth/bearers.h"
#include "hub/base/buf.h"
#include "hub/net/conn.h"

#define SESSION_ID_SIZE 17
#define CLOSE_AUTH 4401 /* token bad or expired */

enum session_state {
    SESSION_NEW,       /* a stranger */
    SESSION_VERIFYING, /* a token waits for its turn */
    SESSION_KNOWN,     /* by the token of the upgrade; the first request but auth joins it */
    SESSION_JOINING,   /* an auth, or that first request, waits for the owner's log */
    SESSION_LIVE,      /* hears its owner's events */
    SESSION_UNJOINED,  /* known, but Redis did not answer auth: the client asks again */
    SESSION_CLOSING,   /* refused, or closed */
};

struct session {
    struct answerer answerer;
    struct client client;
    struct conn *conn; /* until it is closed */
    struct bearer bearer;
    enum session_state state;
    struct owners_resume resume; /* what its newest auth asks for */
    struct entry *entry;         /* auth.c: SESSION_JOINING */
    struct buf kept; /* messages that wait for VERIFYING and JOINING to end, each behind its size */
    unsigned kept_count;
    unsigned failures; /* of auth.refresh */
    char id[SESSION_ID_SIZE];
};

/* What the server calls; server_config.app must be the struct app. */
struct conn_ops session_conn_ops(void);
/* The one place where the state changes. What waited is handled before it returns, so do it last. */
void session_become(struct session *session, enum session_state state);
/* The session that asks, NULL if none does (any more). */
struct session *session_asking(const struct request *request);

/* ---- auth.c ---- */
/* A token came with the upgrade. */
void auth_open(struct session *session, struct span token);
/* SESSION_KNOWN: joins as if auth had been called without `resume` by a notification. */
void auth_join_implied(struct session *session);
/* The connection has closed: what its auth waits for counts no more. */
void auth_leave(struct session *session);
/* Rows of the dispatch table. */
void run_auth(struct request *request, const struct span *values);
void run_auth_refresh(struct request *request, const struct span *values);
