/* SPDX-License-Identifier: MIT */
/* What the unit tests need besides owners.h: times and bounds, and the work of the timers, so that a test can
 * advance time. Loop thread only. */
#pragma once

#include "hub/owners/owners.h"

#define OWNER_PAGE 100                /* most events of one replay read */
#define OWNER_READS_MAX 64            /* most replay reads of members at a time */
#define OWNER_TICK_MS 10              /* tick of gaps and catching up */
#define OWNER_GAP_TICKS 25            /* ticks after which a gap is read from the log … */
#define OWNER_GAP_TICKS_IN_FLIGHT 100 /* … while submissions of the owner are under way */
#define OWNER_RETRY_TICKS 50          /* ticks between two tries while Redis does not answer */
#define OWNER_LINGER_S 30             /* seconds that the feed stays after the last member has left */

void owners_tick(struct owners *owners);        /* call every OWNER_TICK_MS while anything waits */
void owners_tick_second(struct owners *owners); /* call every second */
