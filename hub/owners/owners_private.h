/* SPDX-License-Identifier: MIT */
/* What the unit tests of owners need beside owners.h: its times and bounds, and the work of its timers, so
 * that a test can pass time. Loop thread only. */
#pragma once

#include "hub/owners/owners.h"

#define OWNER_PAGE 100                /* events of one replay read */
#define OWNER_READS_MAX 64            /* replay reads of members at a time */
#define OWNER_TICK_MS 10              /* of gaps and catching up */
#define OWNER_GAP_TICKS 25            /* a gap is real after so long … */
#define OWNER_GAP_TICKS_IN_FLIGHT 100 /* … or this, while submissions of the owner are in flight */
#define OWNER_RETRY_TICKS 50          /* between two tries while Redis does not answer */
#define OWNER_LINGER_S 30             /* how long the feed stays after the last member */

void owners_tick(struct owners *owners);        /* every OWNER_TICK_MS while anything waits */
void owners_tick_second(struct owners *owners); /* every second */
