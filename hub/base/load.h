/* SPDX-License-Identifier: MIT */
/* What a user and his requests hold of this hub, over all his connections: how many of these there are, how
 * many requests are under way, how many bytes of their answers are not written yet, how fast messages come.
 * Beyond a bound nobody is refused: who brings messages (a load, one per connection) is not read until there
 * is room. Loop thread only. */
#pragma once

#include "hub/base/bucket.h"
#include "hub/base/loop.h"
#include "hub/base/span.h"

struct loads; /* all of a hub */
struct load;  /* one connection's, and what outlives it: its requests that are under way */

struct load_limits {
    size_t user_connections;
    size_t requests;              /* under way, of a connection */
    size_t user_requests;         /* of a user */
    size_t user_bytes;            /* of unwritten answers */
    struct bucket_rate rate;      /* messages of a connection: beyond, it is too fast */
    struct bucket_rate user_rate; /* of a user: beyond, he is not read */
};
struct loads *loads_new(struct loop *loop, const struct load_limits *limits);
/* Every load has been given back. */
void loads_free(struct loads **loads);

/* A load of nobody, with one reference. `room` is called when it waited and there is room, never from within
 * a function of this file. */
struct load *load_new(struct loads *loads, void (*room)(void *ctx), void *ctx);
/* From now on it counts for this user, once; false if he has as many connections as he may. */
bool load_set_user(struct load *load, struct span user) MUSTCHECK;
struct load *load_ref(struct load *load);
void load_unref(struct load *load); /* fine for NULL */
/* Its connection is gone: `room` is not called any more. Gives back one reference. */
void load_leave(struct load *load);

/* ---- messages ---- */
/* Whether the next message may be handled. False: it must be kept, and nothing more be read, until `room` is
 * called. Before authentication there always is room. */
bool load_has_room(struct load *load);
void load_wait(struct load *load);
/* Not any more, as its connection closes. */
void load_wait_no_more(struct load *load);
/* A message is handled, or, for a batch, so many more (at least 1) than the one that was counted. How the
 * connection keeps its rate: */
enum load_rate {
    LOAD_IN_TIME,
    LOAD_TOO_FAST, /* beyond its rate */
    LOAD_FLOOD,    /* far beyond */
};
enum load_rate load_count(struct load *load, size_t messages); /* NULL: in time */

/* ---- requests and answers; NULL counts nothing ---- */
/* A request is under way, from begin to end; it keeps a reference. Gives `load`. */
struct load *load_begin(struct load *load);
void load_end(struct load *load);
/* So many bytes of answers wait now where `before` did. */
void load_unwritten(struct load *load, size_t before, size_t now);
/* Whether so many more bytes are within what unwritten answers of the user may have. */
bool load_fits(const struct load *load, size_t bytes);
