/* SPDX-License-Identifier: MIT */
/* Quotas: how much of something (connections, bytes) each holder (a user, an address) has at a time. What is
 * taken is a charge, a value inside the object it is taken for, and is released with that object. One thread
 * at a time. */
#pragma once

#include "hub/base/mem.h"
#include "hub/base/table.h"

#include <stdbool.h>

struct quota { /* all zero = nothing taken */
    struct table holders;
    size_t used; /* by all holders */
};

struct quota_holder;
struct charge { /* all zero = empty; if it was copied, give back one of the copies only */
    struct quota_holder *holder;
    size_t n;
};

/* Takes `n` (at least 1) for `who` into an empty charge. False, and nothing is taken, if `who` would then
 * have more than `limit`. If there is only one holder, name it QUOTA_ONE. */
bool charge_take(struct charge *charge, struct quota *quota, struct span who, size_t n,
                 size_t limit) MUSTCHECK;
#define QUOTA_ONE SPAN("")
#define QUOTA_UNLIMITED SIZE_MAX
/* Gives back what the charge holds and empties it; an empty one is fine. */
void charge_give(struct charge *charge);
/* Returns the holder's name (valid until the charge is given back), NULL for an empty charge. */
const char *charge_who(const struct charge *charge);
/* Returns the quota it was taken from, NULL for an empty charge. */
const struct quota *charge_quota(const struct charge *charge);
/* Returns how much `who` has taken. */
size_t quota_used(const struct quota *quota, struct span who);
/* Frees the table. Do not give back a charge afterwards. */
void quota_free(struct quota *quota);
