/* SPDX-License-Identifier: MIT */
/* UTF-8; see utf8.h. */
#include "hub/base/utf8.h"

#include "hub/base/mem.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* The rows are those of Unicode's table 3-7, well-formed byte sequences. */
size_t utf8_length(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char first, last, low, high, length;
    } rows[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    if (p[0] < 0x80)
        return 1;
    for (size_t i = 0; i < NELEMS(rows); i++) {
        if (p[0] < rows[i].first || p[0] > rows[i].last)
            continue;
        if (left < rows[i].length || p[1] < rows[i].low || p[1] > rows[i].high)
            return 0;
        for (size_t k = 2; k < rows[i].length; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return rows[i].length;
    }
    return 0;
}

#define EACH(byte) (0x0101010101010101u * (byte))

bool utf8_valid(struct span text)
{
    const unsigned char *p = (const unsigned char *)text.p;
    uint64_t bytes;
    for (size_t i = 0, length; i < text.n; i += length) {
        for (; text.n - i >= sizeof bytes; i += sizeof bytes) {
            memcpy(&bytes, p + i, sizeof bytes);
            if (bytes & EACH(0x80))
                break;
        }
        length = i < text.n ? utf8_length(p + i, text.n - i) : 1;
        if (length == 0)
            return false;
    }
    return true;
}

/* For eight bytes at a time: sets the top bit of each byte that is not plain, and perhaps of later ones. */
static uint64_t not_plain(uint64_t bytes)
{
    uint64_t no_quote = (bytes ^ EACH('"')) - EACH(1), no_backslash = (bytes ^ EACH('\\')) - EACH(1);
    return (bytes | (bytes - EACH(' ')) | (bytes + EACH(1)) | no_quote | no_backslash) & EACH(0x80);
}

size_t utf8_plain(const unsigned char *p, size_t n)
{
    size_t i = 0;
    for (uint64_t bytes, found; n - i >= sizeof bytes; i += sizeof bytes) {
        memcpy(&bytes, p + i, sizeof bytes);
        if ((found = not_plain(le64toh(bytes))) != 0)
            return i + (size_t)__builtin_ctzll(found) / 8;
    }
    while (i < n && p[i] >= ' ' && p[i] < 0x7f && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

unsigned utf8_encode(unsigned long code, unsigned char to[static 4])
{
    static const struct {
        unsigned long below;
        unsigned char lead, length;
    } rows[] = {{0x80, 0, 1}, {0x800, 0xc0, 2}, {0x10000, 0xe0, 3}, {0x110000, 0xf0, 4}};
    size_t row = 0;
    while (row < NELEMS(rows) - 1 && code >= rows[row].below)
        row++;
    for (unsigned i = rows[row].length; i-- > 1; code >>= 6)
        to[i] = (unsigned char)(0x80 | (code & 0x3f));
    to[0] = (unsigned char)(rows[row].lead | code);
    return rows[row].length;
}

unsigned long utf8_decode(const unsigned char *p, size_t length)
{
    static const unsigned char lead[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    unsigned long code = p[0] & lead[length];
    for (size_t i = 1; i < length; i++)
        code = code << 6 | (p[i] & 0x3f);
    return code;
}

static bool is_hidden(unsigned long code)
{
    static const struct {
        unsigned long first, last;
    } rows[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},
                {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};
    for (size_t i = 0; i < NELEMS(rows); i++)
        if (code >= rows[i].first && code <= rows[i].last)
            return true;
    return false;
}

bool utf8_printable(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = utf8_plain(p, n), length; i < n; i += length) {
        length = utf8_length(p + i, n - i);
        if (length == 0 || is_hidden(utf8_decode(p + i, length)))
            return false;
    }
    return true;
}
