/* SPDX-License-Identifier: MIT */
/* What was submitted and what came back: finds events that are missing, doubled, late, early or at the
 * wrong connection. One entry per task id. One thread. */
#pragma once

#include "hub/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct ledger_entry {
    uint64_t hash;
    size_t id_at, id_size; /* in ledger.ids */
    int owner;             /* the connection that submitted it, -1 while its reply is outstanding */
    int first;             /* the connection its first event came to, -1 = none yet */
    unsigned slot;         /* of the submission at its owner */
    unsigned events;
    uint64_t submitted_us;
    bool used, ended, ended_well;
};
struct ledger {
    struct ledger_entry *entries;
    size_t room, count;
    struct buf ids;
    uint64_t events, wrong_owner, duplicate_final, after_final, before_accept;
};

/* The entry of an id, made when it is new. Valid until the next call. */
struct ledger_entry *ledger_entry(struct ledger *ledger, struct span id);
/* Notes one event of a task at a connection. True when it is the (first) terminal one. */
bool ledger_event(struct ledger *ledger, struct ledger_entry *entry, int conn, struct span status);
/* Events that did not come, of tasks whose reply did: below `expected` each. */
uint64_t ledger_missing(const struct ledger *ledger, unsigned expected);
/* Tasks with events that nobody submitted. */
uint64_t ledger_orphans(const struct ledger *ledger);
void ledger_free(struct ledger *ledger);
