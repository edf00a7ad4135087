/* SPDX-License-Identifier: MIT */
/* Turns at something costly that many want (reads in Redis): each piece of work has a weight and an owner. A
 * bounded weight is under way, of an owner and of all; owners take turns, and each has a rate: who has used
 * up his waits while others go on. Nobody is refused. One thread, that of the loop. */
#pragma once

#include "hub/base/bucket.h"
#include "hub/base/list.h"
#include "hub/base/loop.h"
#include "hub/base/span.h"

struct turns;
struct turn_owner;

struct turns_limits {
    size_t owner_weight, weight; /* under way; one piece may be heavier when nothing else is */
    struct bucket_rate rate;     /* weight of an owner */
};

struct turn { /* one piece of work; inside what it is about */
    struct list node;
    struct turn_owner *owner; /* NULL: it asked for none, or is done */
    size_t weight;
    void (*go)(struct turn *turn); /* it may begin; may not call a function of this file */
};

struct turns *turns_new(struct loop *loop, const struct turns_limits *limits);
/* Calls `drop` for each that still waits; none is under way. */
void turns_free(struct turns **turns, void (*drop)(struct turn *turn));

/* Calls turn->go (set before, as is the weight, at least 1) when its turn comes, perhaps at once. */
void turns_ask(struct turns *turns, struct turn *turn, struct span owner);
/* It began and has ended; what it did weigh is what its owner pays. Fine for one that never asked. */
void turns_done(struct turns *turns, struct turn *turn, size_t weight);
