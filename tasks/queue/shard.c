/* SPDX-License-Identifier: MIT */
/* Virtual shards, keys and channels; see shard.h. */
#include "tasks/queue/shard.h"

#include <stdio.h>

_Static_assert(SHARDS == 1u << ID_TAIL_BITS, "a task's id holds its shard");

/* CRC-16/XMODEM: polynomial 0x1021, from 0, not reflected; four bits at a time. */
static unsigned crc16(struct span bytes)
{
    static const unsigned short table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                             0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    unsigned crc = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        unsigned byte = (unsigned char)bytes.p[i];
        crc = (crc << 4 ^ table[(crc >> 12 ^ byte >> 4) & 15]) & 0xffff;
        crc = (crc << 4 ^ table[(crc >> 12 ^ byte) & 15]) & 0xffff;
    }
    return crc;
}

unsigned shard_of(struct span owner)
{
    return crc16(owner) % SHARDS;
}

void shard_task_id(char id[static ID_SIZE], struct span owner)
{
    id_new_tail(id, shard_of(owner));
}

struct span shard_channel(char to[static CHANNEL_MAX], const char *kind, const char *name)
{
    snprintf(to, CHANNEL_MAX, SHARD_PREFIX "%s%s", kind, name);
    return span_of(to);
}
