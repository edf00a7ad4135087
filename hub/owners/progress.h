/* SPDX-License-Identifier: MIT */
/* Which progress is news: a short memory of what was delivered of recent tasks, for all owners of a hub. What
 * comes over the feed and what comes by replies overtake each other by milliseconds; without it progress
 * would be shown behind a newer one or behind the end of its task. Loop thread. Bounded: the oldest task of a
 * set is forgotten first. */
#pragma once

#include "hub/owners/event.h"

struct progress;
struct progress *progress_new(void); /* give it back with free() */
/* Whether a latest-wins event is not older than what was delivered and not behind the end; then it is
 * remembered. */
bool progress_admit(struct progress *progress, const struct event *event);
/* Remembers a logged event of a task: its attempt, and whether it was the end. */
void progress_note(struct progress *progress, const struct event *event);
