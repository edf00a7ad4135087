/* SPDX-License-Identifier: MIT */
/* Verifies tokens, a bounded amount of work per turn of the loop; see token_turns.c. Loop thread. */
#pragma once

#include "handlers/session/session.h"

/* Receives the outcome, unless the connection has closed. `who` is the callee's to move or clear; NULL and
 * a reason if the token is refused or belongs to another user than the session's. */
typedef void token_verified_fn(struct session *session, struct request *request, struct principal *who,
                               const char *reason);

/* Verifies now or in a later turn, then calls `then`; drops `request` if the connection closes first.
 * `token` is a JSON string (from a request) or plain text (request NULL, from the upgrade). */
void token_verify(struct session *session, struct request *request, struct span token,
                  token_verified_fn *then);

/* Makes app->token_turns; token_turns_stop() frees it and drops what waits, unanswered. */
void token_turns_start(struct app *app);
void token_turns_stop(struct app *app);
