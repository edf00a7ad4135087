/* Joining the owner's events without a request for it; see auth.c. Loop thread. */
#pragma once

#include "handlers/session.h"

/* The token came with the upgrade and a request came without auth before it: the connection is joined as if
 * auth had been called without `resume`, unanswered. session->implied stands until it is, and is false at
 * once where Redis cannot be asked. */
void auth_join_implied(struct session *session);
