/* SPDX-License-Identifier: MIT */
/* Escapes inside JSON strings; see json_escape.h. */
#include "hub/json/json_escape.h"

#include "hub/base/digits.h"
#include "hub/base/utf8.h"

#include <string.h>

long json_hex4(const unsigned char *p, const unsigned char *end)
{
    long value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value((char)p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static unsigned long unescape_unicode(struct json_unescape *u) /* u->p is behind "\u" */
{
    unsigned long code = (unsigned long)json_hex4(u->p, u->end);
    u->p += 4;
    if (code >= 0xd800 && code <= 0xdbff) {
        unsigned long low = (unsigned long)json_hex4(u->p + 2, u->end);
        u->p += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    return code;
}

int json_unescape_other(struct json_unescape *u)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    if (u->given < u->have)
        return u->out[u->given++];
    if (u->p >= u->end)
        return -1;
    unsigned char kind = u->p[1];
    u->p += 2;
    if (kind == 'u') {
        u->have = utf8_encode(unescape_unicode(u), u->out);
        u->given = 1;
        return u->out[0];
    }
    const char *at = strchr(from, kind);
    return at ? (unsigned char)to[at - from] : kind;
}

struct json_unescape json_unescape(const void *p, size_t n)
{
    return (struct json_unescape){.p = p, .end = (const unsigned char *)p + n};
}
