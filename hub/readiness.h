/* SPDX-License-Identifier: MIT */
/* Follows the hub's Redis: it comes and goes, it fits or not, its function library is loaded, then the worker
 * of a private one is started. The hub is ready when commands can be given and events heard. Loop thread
 * only. */
#pragma once

#include "hub/hub.h"

/* Opens both connections. */
void readiness_connect(struct hub *hub, const struct redis_url *url);
/* Another try where Redis answers but was not usable. */
void readiness_retry(struct hub *hub);
/* For the server: whether it is ready; if not, appends a JSON object with the reasons. `ctx` is the app. */
bool readiness_ask(void *ctx, struct buf *reasons);
