/* SPDX-License-Identifier: MIT */
/* Everybody who was authenticated by a token, indexed by the token, its owner and its key: when one of
 * these is revoked, its bearers are told at once. Also keeps the revocations until no token they concern
 * can be valid any more. Loop thread. */
#pragma once

#include "hub/auth/auth.h"
#include "hub/base/list.h"
#include "hub/base/table.h"

struct bearers;

struct bearing {            /* the entry of a bearer under a token's or an owner's name */
    struct table_node node; /* its key is in bearer->who */
    struct list same;       /* a ring of all bearings of that name */
    bool first;             /* represents its ring in the table */
};
struct bearer { /* embedded in a connection; all zero while it bears no token */
    struct list all;
    struct bearing token, owner;
    const struct principal *who; /* borrowed; must not change until bearers_leave() */
    /* Called when its token is no longer valid: close now, leave later. */
    void (*end)(struct bearer *bearer, const char *reason);
};

struct bearers *bearers_new(void);
/* Frees the index; every bearer must have left. */
void bearers_free(struct bearers **bearers);
/* Adds a bearer authenticated as bearer->who; `who` and `end` must be set. O(1). */
void bearers_add(struct bearers *bearers, struct bearer *bearer);
/* Removes a bearer that is gone or about to get another token. Fine for one without a token. */
void bearers_leave(struct bearers *bearers, struct bearer *bearer);

/* Ends all bearers whose key is not in the ring; call after the ring has changed. O(bearers). */
void bearers_new_keys(struct bearers *bearers, const struct keyring *ring);

/* ---- revocations: entries as stored in Redis, and what this process knows of them ---- */

#define REVOCATION_MARGIN_S 60 /* twice AUTH_SKEW_S: a clock that is behind, and a token past its exp */
/* How long an entry made at now_s must be kept: until no token it concerns can be valid any more. Seconds. */
int64_t revocation_until(int64_t now_s, int64_t max_ttl_s);
/* Appends the entry of a token, and that of all tokens of an owner with an iat (0 if there is none) below
 * before_s. */
void revocation_of_token(struct buf *to, const char *token_id, int64_t until_s);
void revocation_of_owner(struct buf *to, const char *owner, int64_t until_s, int64_t before_s);
/* Notes an entry and ends the bearers it names; repeating it is fine. False if it is malformed. O(those
 * bearers). */
bool bearers_revoke(struct bearers *bearers, struct span entry) MUSTCHECK;
/* Whether a noted entry names this principal. O(1). */
bool bearers_revoked(const struct bearers *bearers, const struct principal *who);
/* Drops entries that are no longer needed. O(entries). */
void bearers_forget(struct bearers *bearers, int64_t now_s);
