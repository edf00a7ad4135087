/* SPDX-License-Identifier: MIT */
/* Quotas: how much of something (connections, bytes) each holder (a user, an address) has at once. What is
 * taken is a charge, a value inside the thing it pays for, and is given back with that. One thread at a time.
 */
#pragma once

#include "hub/base/mem.h"
#include "hub/base/table.h"

#include <stdbool.h>

struct quota { /* all zero: nothing is taken */
    struct table holders;
    size_t used; /* by all of them */
};

struct quota_holder;
struct charge { /* all zero: holds nothing; of its copies one is given back */
    struct quota_holder *holder;
    size_t n;
};

/* Takes `n` (at least 1) for `who` into an empty charge. False, and nothing is taken, if `who` would have
 * more than `limit` then. Where there is one holder only, it is called QUOTA_ONE. */
bool charge_take(struct charge *charge, struct quota *quota, struct span who, size_t n,
                 size_t limit) MUSTCHECK;
#define QUOTA_ONE SPAN("")
#define QUOTA_UNLIMITED SIZE_MAX
/* Gives back what it holds and empties it; an empty one is fine. */
void charge_give(struct charge *charge);
/* Returns who pays (valid until it is given back), NULL for an empty charge. */
const char *charge_who(const struct charge *charge);
/* Returns what it was taken from, NULL for an empty charge. */
const struct quota *charge_quota(const struct charge *charge);
/* Returns how much `who` has. */
size_t quota_used(const struct quota *quota, struct span who);
/* Frees the table. No charge may be given back afterwards. */
void quota_free(struct quota *quota);
