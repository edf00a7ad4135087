/* Tokens on their way through verification; see auth_turns.c. Loop thread. */
#pragma once

#include "handlers/session/session.h"

struct verify;
/* The outcome. `who` is the callee's to move or clear; NULL and a reason if the token is refused. The
 * connection is open. */
typedef void verify_fn(struct verify *verify, struct session *session, struct principal *who,
                       const char *reason);

struct verify { /* one token to verify; freed after the outcome */
    struct list node;
    struct auth_turns *turns;
    struct conn_handle conn;
    struct request *request; /* NULL: the token came with the upgrade, and no auth after it yet */
    struct owners_resume resume;
    verify_fn *then;
    size_t size;
    char token[];
};

/* `token` is a JSON string (from a request) or plain text (request NULL, from the upgrade). */
struct verify *verify_new(struct session *session, struct request *request, struct span token);
/* Verifies now or in a later turn, then calls `then`; not at all if the connection closes before. */
void verify_start(struct verify *verify, verify_fn *then);
