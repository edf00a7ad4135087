/* SPDX-License-Identifier: MIT */
/* Shares an expensive resource (reads in Redis) between owners in turn: each piece of work has a weight and
 * an owner. Bounds the weight under way, per owner and of all; owners take turns, and each has a rate: an
 * owner who has used his up waits while others continue. Nobody is refused. Loop thread. */
#pragma once

#include "hub/base/bucket.h"
#include "hub/base/list.h"
#include "hub/base/loop.h"
#include "hub/base/span.h"

struct turns;
struct turn_owner;

struct turns_limits {
    size_t owner_weight, weight; /* most under way, per owner and of all; a heavier piece runs alone */
    struct bucket_rate rate;     /* weight per second of an owner */
};

struct turn { /* one piece of work; embedded in an object */
    struct list node;
    struct turn_owner *owner; /* NULL: not asked for, or done */
    size_t weight;
    void (*go)(struct turn *turn); /* begins the work; must not call a function of this file */
};

struct turns *turns_new(struct loop *loop, const struct turns_limits *limits);
/* Frees them; calls `drop` for each that still waits. None may be under way. */
void turns_free(struct turns **turns, void (*drop)(struct turn *turn));

/* Calls turn->go when its turn comes, perhaps at once. Set turn->go and turn->weight (at least 1) before. */
void turns_ask(struct turns *turns, struct turn *turn, struct span owner);
/* Call when the work has ended; its owner is charged `weight`, the actual weight. Fine for a turn that was
 * never asked for. */
void turns_done(struct turns *turns, struct turn *turn, size_t weight);
