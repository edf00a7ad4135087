/* SPDX-License-Identifier: MIT */
/* SHA-1 of short texts; see sha1.h. */
#include "hub/base/sha1.h"

#include "hub/base/mem.h"

#include <stdint.h>

#define BLOCK 64

static uint32_t turn(uint32_t x, unsigned by)
{
    return x << by | x >> (32 - by);
}

/* What a round mixes of three words, and its constant. */
static uint32_t mixed(unsigned round, uint32_t b, uint32_t c, uint32_t d)
{
    switch (round / 20) {
    case 0:
        return ((b & c) | (~b & d)) + 0x5a827999;
    case 1:
        return (b ^ c ^ d) + 0x6ed9eba1;
    case 2:
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    default:
        return (b ^ c ^ d) + 0xca62c1d6;
    }
}

static void add_block(uint32_t sum[static 5], const unsigned char *block)
{
    uint32_t w[80], s[5];
    for (unsigned i = 0; i < 16; i++, block += 4)
        w[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    for (unsigned i = 16; i < 80; i++)
        w[i] = turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(s, sum, sizeof s);
    for (unsigned i = 0; i < 80; i++) {
        uint32_t next = turn(s[0], 5) + mixed(i, s[1], s[2], s[3]) + s[4] + w[i];
        memmove(s + 1, s, 4 * sizeof *s);
        s[2] = turn(s[2], 30);
        s[0] = next;
    }
    for (unsigned i = 0; i < 5; i++)
        sum[i] += s[i];
}

void sha1(struct span text, unsigned char to[static SHA1_SIZE])
{
    uint32_t sum[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    unsigned char padded[2 * BLOCK] = {0};
    size_t blocks = text.n + 9 <= BLOCK ? 1 : 2;
    if (text.n > SHA1_TEXT_MAX)
        abort();
    memcpy(padded, text.n ? text.p : "", text.n);
    padded[text.n] = 0x80;
    padded[blocks * BLOCK - 2] = (unsigned char)(text.n * 8 >> 8);
    padded[blocks * BLOCK - 1] = (unsigned char)(text.n * 8);
    for (size_t i = 0; i < blocks; i++)
        add_block(sum, padded + i * BLOCK);
    for (unsigned i = 0; i < SHA1_SIZE; i++)
        to[i] = (unsigned char)(sum[i / 4] >> (24 - 8 * (i % 4)));
}
