/* SPDX-License-Identifier: MIT */
/* How much of something each holder (a user, an address) has at once, as values that give themselves back:
 * what pays for a thing is a charge inside that thing. One thread at a time. */
#pragma once

#include "hub/base/mem.h"
#include "hub/base/table.h"

#include <stdbool.h>

struct quota { /* all zero: nothing is taken */
    struct table holders;
    size_t used; /* by all of them */
};

struct quota_holder;
struct charge { /* all zero: holds nothing; may be copied if one of the copies is given back */
    struct quota_holder *holder;
    size_t n;
};

/* Takes `n` (at least 1) for `who` into an empty charge: false, and nothing taken, if `who` would have more
 * than `limit` then. Where there is one holder only, `who` is QUOTA_ONE. */
bool charge_take(struct charge *charge, struct quota *quota, struct span who, size_t n,
                 size_t limit) MUSTCHECK;
#define QUOTA_ONE SPAN("")
#define QUOTA_UNLIMITED SIZE_MAX
/* Gives it back; an empty one is fine. */
void charge_give(struct charge *charge);
/* Who pays, valid while the charge is; NULL for an empty one. */
const char *charge_who(const struct charge *charge);
/* What `who` has. */
size_t quota_used(const struct quota *quota, struct span who);
/* A charge that was not given back must not be touched any more. */
void quota_free(struct quota *quota);
