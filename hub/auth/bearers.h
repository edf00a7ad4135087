/* SPDX-License-Identifier: MIT */
/* Whoever was let in by a token, found by the token, by its owner and by its key: when one of these is taken
 * back, its bearers are told at once. Keeps what was taken back, too, until no token of it can be valid any
 * more. Loop thread. */
#pragma once

#include "hub/auth/auth.h"
#include "hub/base/list.h"

struct bearers;
struct bearer_group; /* the bearers of one token, of one owner */

struct bearer { /* part of what a connection keeps; all zero while it bears nothing */
    struct list all, of_token, of_owner;
    struct bearer_group *token, *owner; /* NULL: nothing */
    const struct principal *who;        /* the holder's, as it is now */
    /* Its token counts no more: it closes, and leaves later. */
    void (*end)(struct bearer *bearer, const char *reason);
};

struct bearers *bearers_new(void);
/* None may bear anything any more. */
void bearers_free(struct bearers **bearers);
/* It was let in by bearer->who, or has another token now; `who` and `end` are set. O(1). */
void bearers_add(struct bearers *bearers, struct bearer *bearer);
/* It is gone, or will get another token. Fine for one that bears nothing. */
void bearers_leave(struct bearers *bearers, struct bearer *bearer);

/* Ends all whose key is not in the ring: for a ring that has changed. O(bearers). */
void bearers_new_keys(struct bearers *bearers, const struct keyring *ring);
