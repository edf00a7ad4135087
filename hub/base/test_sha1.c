/* SPDX-License-Identifier: MIT */
/* hub/base/sha1.c: digests of FIPS 180-4 and RFC 6455, and lengths around the ends of a block. */
#include "hub/base/sha1.h"

#include "tests/lib/tap.h"

#include <sodium.h>

static const char *hex(struct span text)
{
    static char out[2 * SHA1_SIZE + 1];
    unsigned char digest[SHA1_SIZE];
    sha1(text, digest);
    return sodium_bin2hex(out, sizeof out, digest, sizeof digest);
}

int main(void)
{
    static const char as[SHA1_TEXT_MAX + 1] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    is_text(hex(SPAN("")), "da39a3ee5e6b4b0d3255bfef95601890afd80709", "nothing");
    is_text(hex(SPAN("abc")), "a9993e364706816aba3e25717850c26c9cd0d89d", "one block");
    is_text(hex(SPAN("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1", "two blocks");
    is_text(hex(SPAN("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11")),
            "b37a4f2cc0624f1690f64606cf385945b2bec4ea", "the key of RFC 6455");
    is_text(hex((struct span){as, 55}), "c1c8bbdc22796e28c0e15163d20899b65621d65a", "55 bytes");
    is_text(hex((struct span){as, 56}), "c2db330f6083854c99d4b5bfb6e8f29f201be699", "56 bytes");
    is_text(hex((struct span){as, 64}), "0098ba824b5c16427bd7a1122a5a442a25ec644d", "64 bytes");
    is_text(hex((struct span){as, 119}), "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56", "119 bytes");
    return done_testing();
}
