/* SPDX-License-Identifier: MIT */
/* Parses digits; see digits.h. */
#include "hub/base/digits.h"

#include <stddef.h>

int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool digits_int(struct span text, int64_t *ret)
{
    bool minus = text.n && text.p[0] == '-';
    int64_t value = 0;
    if (text.n == minus)
        return false;
    for (size_t i = minus; i < text.n; i++) {
        int digit = text.p[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) /* the negative range is larger by one */
            return false;
    }
    if (!minus && value == INT64_MIN)
        return false;
    *ret = minus ? value : -value;
    return true;
}
