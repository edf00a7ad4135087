/* SPDX-License-Identifier: MIT */
/* One open connection and its authentication: from unknown to receiving the owner's events. Loop thread;
 * freed when the connection has closed and its last request is released. */
#pragma once

#include "handlers/rpc/app.h"
#include "hub/auth/bearers.h"
#include "hub/base/buf.h"
#include "hub/net/conn.h"

#define SESSION_ID_SIZE 17
#define CLOSE_AUTH 4401 /* token bad or expired */

enum session_state {
    SESSION_NEW,       /* not authenticated */
    SESSION_VERIFYING, /* a token waits for its turn */
    SESSION_KNOWN,     /* authenticated by the upgrade's token; its first request other than auth joins it */
    SESSION_JOINING,   /* an auth, or that first request, waits for the owner's log */
    SESSION_LIVE,      /* gets its owner's events */
    SESSION_UNJOINED,  /* authenticated, but Redis did not answer auth: the client asks again */
    SESSION_CLOSING,   /* refused, or closed */
};

struct session {
    struct answerer answerer;
    struct client client;
    struct conn *conn; /* until it is closed */
    struct bearer bearer;
    enum session_state state;
    struct owners_resume resume; /* from its newest auth */
    struct entry *entry;         /* auth.c: SESSION_JOINING */
    struct buf kept; /* messages that wait for the end of VERIFYING and JOINING, each preceded by its size */
    unsigned kept_count;
    unsigned failures; /* refused calls of auth.refresh */
    char id[SESSION_ID_SIZE];
};

/* The callbacks for the server; server_config.app must be the struct app. */
struct conn_ops session_conn_ops(void);
/* Changes the state; nothing else does. Handles waiting messages before it returns, so call it last. */
void session_become(struct session *session, enum session_state state);
/* The session that sent the request; NULL if none did, or it has closed. */
struct session *session_asking(const struct request *request);

/* ---- auth.c ---- */
/* Starts verifying the token that came with the upgrade. */
void auth_open(struct session *session, struct span token);
/* SESSION_KNOWN: joins as if auth had been called without `resume` by a notification. */
void auth_join_implied(struct session *session);
/* Call when the connection has closed: callbacks of its auth are ignored from then on. */
void auth_leave(struct session *session);
/* Rows of the dispatch table. */
void run_auth(struct request *request, const struct span *values);
void run_auth_refresh(struct request *request, const struct span *values);
