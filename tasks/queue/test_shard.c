/* SPDX-License-Identifier: MIT */
/* tasks/queue/shard.h: shards of owners as Redis Cluster counts them, ids that carry them, channels. */
#include "tasks/queue/shard.h"

#include "hub/base/mem.h"
#include "tests/lib/tap.h"

#include <sodium.h>

/* CRC-16/XMODEM bit by bit. */
static unsigned plain_crc(struct span bytes)
{
    unsigned crc = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        crc ^= (unsigned)(unsigned char)bytes.p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? (crc << 1 ^ 0x1021) & 0xffff : crc << 1;
    }
    return crc;
}

static void test_shards(void)
{
    char name[128];
    bool same = true;
    is_int(plain_crc(SPAN("123456789")), 0x31c3, "the check value of CRC-16/XMODEM");
    is_int(shard_of(SPAN("123456789")), 0x31c3 % SHARDS, "is this shard");
    is_int(shard_of(SPAN("")), 0, "no name, shard 0");
    for (unsigned i = 0; i < 5000; i++) {
        struct span owner = {name, randombytes_uniform(sizeof name)};
        randombytes_buf(name, owner.n);
        for (size_t at = 0; at < owner.n; at++)
            name[at] = name[at] == '%' ? '_' : name[at];
        same = same && shard_of(owner) == plain_crc(owner) % SHARDS;
    }
    ok(same, "any bytes: as bit by bit");
    is_int(shard_of(SPAN("auth0%7C5f%C3%A9")), plain_crc(SPAN("auth0|5f\xc3\xa9")) % SHARDS,
           "of the user id, not of its form inside");
}

static unsigned low_bits(const char *id)
{
    return (unsigned)strtoul(id + ID_SIZE - 4, NULL, 16) % SHARDS;
}

static void test_ids(void)
{
    char id[ID_SIZE], before[ID_SIZE] = "", name[24];
    bool good = true, rising = true, random = false;
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "user %u", i % 700);
        shard_task_id(id, span_of(name));
        good = good && id_valid(span_of(id)) && low_bits(id) == shard_of(span_of(name));
        rising = rising && strcmp(before, id) < 0;
        random = random || (before[0] && (id[34] ^ before[34]) & 8);
        memcpy(before, id, sizeof id);
    }
    ok(good, "the lowest bits of every id are its owner's shard");
    ok(rising && random, "the others are as ever");
}

static void test_channels(void)
{
    char to[CHANNEL_MAX], name[2 * CHANNEL_MAX];
    ok(span_is(shard_channel(to, "bell:", "default"), "th:{0}:bell:default"), "a channel");
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    is_int(shard_channel(to, "ctl:", name).n, CHANNEL_MAX - 1, "is cut");
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    test_shards();
    test_ids();
    test_channels();
    return done_testing();
}
