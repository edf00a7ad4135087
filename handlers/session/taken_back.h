/* SPDX-License-Identifier: MIT */
/* Follows the list of what was taken back: twice a second the hub reads what is new, over the connection that
 * its commands take, so that silence of Redis shows, nothing can be missed, and no subscription has to be
 * trusted. As long as it does not know the list as it was at most auth.deny_grace_s ago, app.unsure is set.
 * Loop thread. */
#pragma once

#include "handlers/rpc/app.h"

void taken_back_start(struct app *app);
/* The connection to Redis is closed: no answer comes any more. */
void taken_back_stop(struct app *app);
/* Redis answers again, or took an entry: reads at once, unless that is under way. */
void taken_back_read(struct app *app);
