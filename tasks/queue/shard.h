/* SPDX-License-Identifier: MIT */
/* Where a task's data lives in Redis. An owner belongs to one of SHARDS virtual shards; so do the owner's
 * tasks, whose ids carry the shard's number in their lowest bits. Today one real shard holds all virtual
 * ones. The only place in C where keys and channels begin; the Lua library takes its prefix from the
 * calls. Any thread; no state. */
#pragma once

#include "hub/base/id.h"

#define SHARDS 1024
/* The prefix, with its hash tag, of every key and channel of the real shard. */
#define SHARD_PREFIX "th:{0}:"

/* The owner's virtual shard: CRC16 (XMODEM, as Redis Cluster uses it) of the user id in its external form,
 * modulo SHARDS. */
unsigned shard_of(struct span owner);
/* Writes a new id for a task of this owner. */
void shard_task_id(char id[static ID_SIZE], struct span owner);

#define CHANNEL_MAX 256
/* Writes the channel of this kind ("hub:", "ctl:", "bell:", "adm") and name, cut to fit; returns it. */
struct span shard_channel(char to[static CHANNEL_MAX], const char *kind, const char *name);
