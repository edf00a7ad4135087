/* SPDX-License-Identifier: MIT */
/* The walking half of the slicer (json.h): takes apart text that json_check() accepted. Any thread; no
 * state. Never validates again. */
#include "hub/json/json.h"

#include "hub/base/digits.h"
#include "hub/base/utf8.h"
#include "hub/json/json_escape.h"

#include <math.h>

/* ---- escapes (json_escape.h) ---- */

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

static unsigned long unescape_unicode(struct json_unescape *u) /* u->p is after "\u" */
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

/* ---- walking ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct span json_trim(struct span text)
{
    while (text.n && is_space(text.p[0])) {
        text.p++;
        text.n--;
    }
    while (text.n && is_space(text.p[text.n - 1]))
        text.n--;
    return text;
}

static enum json_kind number_kind(struct span value)
{
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] == '.' || value.p[i] == 'e' || value.p[i] == 'E')
            return KIND_NUMBER;
    return KIND_INTEGER;
}

enum json_kind json_kind_of(struct span value)
{
    static const unsigned char kinds[256] = {['{'] = KIND_OBJECT, ['['] = KIND_ARRAY, ['"'] = KIND_STRING,
                                             ['t'] = KIND_TRUE,   ['f'] = KIND_FALSE, ['n'] = KIND_NULL};
    value = json_trim(value);
    if (value.n == 0)
        return KIND_NONE;
    unsigned char kind = kinds[(unsigned char)value.p[0]];
    return kind ? kind : number_kind(value);
}

static const char *after_string(const char *p) /* p is at the opening quote */
{
    for (;;) {
        const char *slash = p = rawmemchr(p + 1, '"');
        while (slash[-1] == '\\')
            slash--;
        if ((p - slash) % 2 == 0)
            return p + 1;
    }
}

static const char *after_value(const char *p, const char *end)
{
    unsigned depth = 0;
    do {
        if (*p == '"') {
            p = after_string(p);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        else if (depth == 0) {
            while (p < end && *p != ',' && *p != '}' && *p != ']' && !is_space(*p))
                p++;
            return p;
        }
        p++;
    } while (depth);
    return p;
}

struct json_iter json_walk(struct span container)
{
    container = json_trim(container);
    return (struct json_iter){container.p + 1, container.p + container.n - 1};
}

static bool at_item(struct json_iter *iter)
{
    while (iter->p < iter->end && (is_space(*iter->p) || *iter->p == ',' || *iter->p == ':'))
        iter->p++;
    return iter->p < iter->end;
}

bool json_next_element(struct json_iter *iter, struct span *ret_value)
{
    if (!at_item(iter))
        return false;
    const char *from = iter->p;
    iter->p = after_value(from, iter->end);
    *ret_value = (struct span){from, (size_t)(iter->p - from)};
    return true;
}

bool json_next_member(struct json_iter *iter, struct span *ret_key, struct span *ret_value)
{
    if (!at_item(iter))
        return false;
    const char *from = iter->p;
    iter->p = after_string(from);
    *ret_key = (struct span){from + 1, (size_t)(iter->p - from - 2)};
    return json_next_element(iter, ret_value);
}

bool json_key_is(struct span key, const char *name)
{
    if (memchr(key.p, '\\', key.n) == NULL)
        return span_is(key, name);
    size_t n = strlen(name);
    struct json_unescape u = json_unescape(key.p, key.n);
    for (size_t i = 0; i < n; i++)
        if (json_unescape_next(&u) != (unsigned char)name[i])
            return false;
    return json_unescape_next(&u) < 0;
}

struct span json_get(struct span object, const char *name)
{
    struct json_iter iter = json_walk(object);
    struct span key, value;
    while (json_next_member(&iter, &key, &value))
        if (json_key_is(key, name))
            return value;
    return SPAN_NONE;
}

void json_string_append(struct buf *to, struct span value)
{
    value = json_trim(value);
    struct span inner = {value.p + 1, value.n - 2};
    if (memchr(inner.p, '\\', inner.n) == NULL) {
        buf_append_span(to, inner);
        return;
    }
    struct json_unescape u = json_unescape(inner.p, inner.n);
    for (int byte; (byte = json_unescape_next(&u)) >= 0;)
        buf_append_char(to, (char)byte);
}

size_t json_string_bytes(struct span value)
{
    value = json_trim(value);
    if (memchr(value.p, '\\', value.n) == NULL)
        return value.n - 2;
    struct json_unescape u = json_unescape(value.p + 1, value.n - 2);
    size_t n = 0;
    while (json_unescape_next(&u) >= 0)
        n++;
    return n;
}

bool json_string_copy(struct span value, char *to, size_t size)
{
    value = json_trim(value);
    if (json_kind_of(value) != KIND_STRING)
        return false;
    struct json_unescape u = json_unescape(value.p + 1, value.n - 2);
    size_t n = 0;
    if (value.n - 2 < size && memchr(value.p, '\\', value.n) == NULL) {
        n = value.n - 2;
        memcpy(to, u.p, n);
        u.p = u.end;
    }
    for (int byte; (byte = json_unescape_next(&u)) >= 0;) {
        if (n + 1 >= size)
            return false;
        to[n++] = (char)byte;
    }
    to[n] = '\0';
    return true;
}

bool json_string_is(struct span value, const char *text)
{
    value = json_trim(value);
    return value.n >= 2 && value.p[0] == '"' && json_key_is((struct span){value.p + 1, value.n - 2}, text);
}

bool json_int(struct span value, int64_t *ret)
{
    value = json_trim(value);
    return json_kind_of(value) == KIND_INTEGER && digits_int(value, ret);
}

bool json_double(struct span value, double *ret)
{
    char text[64];
    value = json_trim(value);
    if (!(json_kind_of(value) & (KIND_INTEGER | KIND_NUMBER)) || value.n >= sizeof text)
        return false;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    double number = strtod(text, NULL);
    if (!isfinite(number))
        return false;
    *ret = number;
    return true;
}
