/* SPDX-License-Identifier: MIT */
/* When the snapshots after a gap are read: where Redis has lost data all clients need one at once. At most 4
 * are read at a time, with pauses between them, so that in the long run they take a fifth of Redis' time at
 * most and other requests are answered meanwhile. Loop thread. Knows neither connections nor what a snapshot
 * contains. */
#pragma once

#include "handlers/rpc/app.h"

struct snapshot_turn { /* one read that may have to wait; embedded in an object */
    struct list node;
    void (*go)(struct snapshot_turn *turn); /* the turn has come */
};

/* Makes app->snapshots; snapshots_stop() forgets what waits. */
void snapshots_start(struct app *app);
void snapshots_stop(struct app *app);
/* Whether the turn has come already; else turn->go is called later, once. Either way snapshots_done() must
 * follow the read. */
bool snapshots_ask(struct app *app, struct snapshot_turn *turn) MUSTCHECK;
/* The same, but never at once: for a read that failed. */
void snapshots_wait(struct app *app, struct snapshot_turn *turn);
/* The turn does not wait any more; fine if it did not. */
void snapshots_leave(struct snapshot_turn *turn);
/* The read has ended; `answered`: by Redis. */
void snapshots_done(struct app *app, bool answered);
