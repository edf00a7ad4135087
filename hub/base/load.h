/* SPDX-License-Identifier: MIT */
/* Tracks how much a user's connections load this hub: their number, requests under way, bytes of unwritten
 * answers, the rate of messages. A user beyond a bound is not refused: his connections (each has a load) are
 * not read until there is room. Loop thread only. */
#pragma once

#include "hub/base/bucket.h"
#include "hub/base/loop.h"
#include "hub/base/span.h"

struct loads; /* all loads of a hub */
struct load;  /* the load of one connection, which its requests keep alive */

struct load_limits {
    size_t user_connections;
    size_t requests;              /* most requests of a connection under way */
    size_t user_requests;         /* most requests of a user under way */
    size_t user_bytes;            /* most bytes of a user's unwritten answers */
    struct bucket_rate rate;      /* messages of a connection; a faster one is LOAD_TOO_FAST */
    struct bucket_rate user_rate; /* messages of a user; connections of a faster user are not read */
};
struct loads *loads_new(struct loop *loop, const struct load_limits *limits);
/* Frees them; every load must have been released. Sets *loads to NULL. */
void loads_free(struct loads **loads);

/* Makes a load without a user, with one reference. `room` is called when it has waited and there is room,
 * never from a function of this file. */
struct load *load_new(struct loads *loads, void (*room)(void *ctx), void *ctx);
/* Assigns the load to a user. Call once; false if he has too many connections. */
bool load_set_user(struct load *load, struct span user) MUSTCHECK;
struct load *load_ref(struct load *load);
void load_unref(struct load *load); /* NULL is fine */
/* Call when the connection is gone: `room` is not called any more. Releases one reference. */
void load_leave(struct load *load);

/* ---- messages ---- */
/* Whether the next message may be handled. If not, keep it, read no more and call load_wait() to get `room`
 * called. Always true before authentication. */
bool load_has_room(struct load *load);
void load_wait(struct load *load);
/* Stops waiting, because the connection closes. */
void load_wait_no_more(struct load *load);
/* Counts messages against the rates: 1 for a message, and for a batch as many as it has beyond the first (at
 * least 1). Returns how the connection keeps its rate: */
enum load_rate {
    LOAD_IN_TIME,
    LOAD_TOO_FAST, /* above its rate */
    LOAD_FLOOD,    /* far above */
};
enum load_rate load_count(struct load *load, size_t messages); /* NULL: LOAD_IN_TIME */

/* ---- requests and answers; NULL counts nothing ---- */
/* Counts a request from begin to end, and holds a reference meanwhile. Returns `load`. */
struct load *load_begin(struct load *load);
void load_end(struct load *load);
/* The bytes of unwritten answers of this load have changed from `before` to `now`. */
void load_unwritten(struct load *load, size_t before, size_t now);
/* Whether `bytes` more fit into the user's bound of unwritten answers. */
bool load_fits(const struct load *load, size_t bytes);
