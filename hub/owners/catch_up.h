/* SPDX-License-Identifier: MIT */
/* What a member of an owner's log has at hand while it catches up: a page of the log, and which events
 * replies told it meanwhile. Loop thread. */
#pragma once

#include "hub/owners/owners.h"

struct catch_up {
    struct event **page;
    size_t page_at, page_count;
    uint64_t *replied;                              /* ascending seqs, as many as were in flight at most */
    size_t replied_at, replied_count, replied_room; /* before replied_at: given */
};
void catch_up_free(struct catch_up *catch_up);
/* Keeps the events of a read that found some. */
void catch_up_keep_page(struct catch_up *catch_up, const struct owner_replay *replay);
/* The page's next event, NULL behind its end. */
struct event *catch_up_next(const struct catch_up *catch_up);
/* That event was given. */
void catch_up_advance(struct catch_up *catch_up);
void catch_up_free_page(struct catch_up *catch_up);
/* A reply told it the event `seq`. */
void catch_up_note_replied(struct catch_up *catch_up, uint64_t seq);
/* Asked in ascending order, as events are given. */
bool catch_up_was_replied(struct catch_up *catch_up, uint64_t seq);
