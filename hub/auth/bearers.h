/* SPDX-License-Identifier: MIT */
/* Whoever was let in by a token, found by the token, by its owner and by its key: when one of these is taken
 * back, its bearers are told at once. Keeps what was taken back, too, until no token of it can be valid any
 * more. Loop thread. */
#pragma once

#include "hub/auth/auth.h"
#include "hub/base/list.h"
#include "hub/base/table.h"

struct bearers;

struct bearing {            /* of a token's name, of an owner's */
    struct table_node node; /* its key stands in bearer->who */
    struct list same;       /* a ring of those of that name */
    bool first;             /* it is the one of the ring that is in the table */
};
struct bearer { /* part of what a connection keeps; all zero while it bears nothing */
    struct list all;
    struct bearing token, owner;
    const struct principal *who; /* the holder's; its texts stay as they are until it leaves */
    /* Its token counts no more: it closes, and leaves later. */
    void (*end)(struct bearer *bearer, const char *reason);
};

struct bearers *bearers_new(void);
/* None may bear anything any more. */
void bearers_free(struct bearers **bearers);
/* It was let in by bearer->who; `who` and `end` are set. O(1). */
void bearers_add(struct bearers *bearers, struct bearer *bearer);
/* It is gone, or is about to get another token. Fine for one that bears nothing. */
void bearers_leave(struct bearers *bearers, struct bearer *bearer);

/* Ends all whose key is not in the ring: for a ring that has changed. O(bearers). */
void bearers_new_keys(struct bearers *bearers, const struct keyring *ring);

/* ---- what was taken back: entries as they stand in Redis, and what of them is known here ---- */

#define DENIAL_MARGIN_S 60 /* twice AUTH_SKEW_S: a clock that is behind, and a token past its exp */
/* Until when an entry must be known that was made at now_s: no token of it can be valid any more. Seconds. */
int64_t denial_until(int64_t now_s, int64_t max_ttl_s);
/* Appends the entry of a token, and that of all tokens of an owner with an iat (0 if there is none) below
 * before_s. */
void denial_of_token(struct buf *to, const char *token_id, int64_t until_s);
void denial_of_owner(struct buf *to, const char *owner, int64_t until_s, int64_t before_s);
/* Notes an entry and ends the bearers that it names; again is fine. False if it is none. O(those bearers). */
bool bearers_deny(struct bearers *bearers, struct span entry) MUSTCHECK;
/* Whether a noted entry names this principal. O(1). */
bool bearers_denied(const struct bearers *bearers, const struct principal *who);
/* Forgets entries that need not be known any more. O(entries). */
void bearers_forget(struct bearers *bearers, int64_t now_s);
