/* SPDX-License-Identifier: MIT */
/* Brings a hub to its end: connections, light tasks and the worker are drained side by side, then Redis is
 * stopped, then the loop. Loop thread only. */
#pragma once

#include "hub/hub.h"

/* Begins; once is enough. What holds on too long is cut off with the process. */
void drain_begin(struct hub *hub, int exit_code);
