/* Joining the owner's events without a request for it; see auth.c. Loop thread. */
#pragma once

#include "handlers/session/session.h"

/* The token came with the upgrade and a request came without auth before it: the connection is joined as if
 * auth had been called without `resume` by a notification, which gets no answer. session->entering stands
 * until it is; it is NULL at once where Redis cannot be asked. */
void auth_join_implied(struct session *session);
