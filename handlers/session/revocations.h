/* SPDX-License-Identifier: MIT */
/* Follows the list of revocations: twice a second the hub reads new entries over its command connection,
 * so that a silent Redis is noticed, nothing can be missed, and no subscription has to be trusted. While
 * it does not know the list as of at most auth.deny_grace_s ago, app.revocations_unknown is set. Loop thread.
 */
#pragma once

#include "handlers/rpc/app.h"

void revocations_start(struct app *app);
/* Call once the connection to Redis is closed, so that no answer can come any more. */
void revocations_stop(struct app *app);
/* Call when Redis answers again or has taken an entry: reads at once, unless a read is under way. */
void revocations_read(struct app *app);
