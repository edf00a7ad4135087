/* The worker's configuration on its way to its zygotes and slots, without what they must not know: the
 * address of Redis and the keys. Any thread; no state. */
#pragma once

#include "hub/config/options.h"

/* Appends the options as bytes for options_unpack() of the same program. */
void options_pack(const struct options *options, struct buf *to);
/* Fills *ret (options_free()); false if the bytes are not from options_pack(). */
bool options_unpack(struct span packed, struct options *ret) MUSTCHECK;
