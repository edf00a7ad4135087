/* SPDX-License-Identifier: MIT */
/* The checking half of the slicer (json_check() of json.h): one recursive-descent pass over the whole
 * text, so that everything after it may trust the grammar. Any thread; no state between calls. */
#include "hub/json/json.h"

#include "hub/base/utf8.h"
#include "hub/json/json_escape.h"

struct key { /* a member name inside the text, and its hash: names are compared by hash first */
    uint32_t hash;
    uint32_t at, n;
};

struct checker {
    const unsigned char *start, *p, *end;
    struct json_limits limits;
    unsigned depth;
    const char *reason;
    struct key keys[JSON_MEMBERS_MAX * 2]; /* member names of the open objects, innermost last */
    unsigned key_count;
};

static bool check_value(struct checker *c);

static bool bad(struct checker *c, const char *reason)
{
    if (c->reason == NULL)
        c->reason = reason;
    return false;
}

static void skip_space(struct checker *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
        c->p++;
}

static bool check_unicode_escape(struct checker *c) /* c->p is after "\u" */
{
    long unit = json_hex4(c->p, c->end);
    if (unit < 0)
        return bad(c, "invalid \\u escape");
    if (unit == 0)
        return bad(c, "a string holds U+0000");
    c->p += 4;
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return bad(c, "lone surrogate");
    if (unit < 0xd800 || unit > 0xdbff)
        return true;
    if (c->end - c->p < 6 || c->p[0] != '\\' || c->p[1] != 'u')
        return bad(c, "lone surrogate");
    long low = json_hex4(c->p + 2, c->end);
    if (low < 0xdc00 || low > 0xdfff)
        return bad(c, "lone surrogate");
    c->p += 6;
    return true;
}

static bool check_string(struct checker *c) /* c->p is at the opening quote */
{
    c->p++;
    while ((c->p += utf8_plain(c->p, (size_t)(c->end - c->p))) < c->end) {
        unsigned char b = *c->p;
        if (b == '"') {
            c->p++;
            return true;
        }
        if (b < 0x20)
            return bad(c, "control character in a string");
        if (b >= 0x80) {
            size_t length = utf8_length(c->p, (size_t)(c->end - c->p));
            if (length == 0)
                return bad(c, "invalid UTF-8");
            c->p += length;
        } else if (b != '\\') {
            c->p++;
        } else if (c->end - c->p >= 2 && c->p[1] == 'u') {
            c->p += 2;
            if (!check_unicode_escape(c))
                return false;
        } else if (c->end - c->p >= 2 && c->p[1] != '\0' && strchr("\"\\/bfnrt", c->p[1])) {
            c->p += 2;
        } else {
            return bad(c, "invalid escape");
        }
    }
    return bad(c, "unterminated string");
}

static bool digits(struct checker *c)
{
    const unsigned char *from = c->p;
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
        c->p++;
    return c->p > from;
}

static bool check_number(struct checker *c)
{
    if (*c->p == '-')
        c->p++;
    if (c->p < c->end && *c->p == '0')
        c->p++;
    else if (!digits(c))
        return bad(c, "invalid number");
    if (c->p < c->end && *c->p == '.') {
        c->p++;
        if (!digits(c))
            return bad(c, "invalid number");
    }
    if (c->p < c->end && (*c->p | 0x20) == 'e') {
        c->p++;
        if (c->p < c->end && (*c->p == '+' || *c->p == '-'))
            c->p++;
        if (!digits(c))
            return bad(c, "invalid number");
    }
    return true;
}

static bool check_word(struct checker *c, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
        return bad(c, "invalid value");
    c->p += n;
    return true;
}

static uint32_t hash_name(const unsigned char *p, size_t n) /* FNV-1a over the decoded name */
{
    struct json_unescape u = json_unescape(p, n);
    uint32_t hash = 2166136261u;
    for (int byte; (byte = json_unescape_next(&u)) >= 0;)
        hash = (hash ^ (uint32_t)byte) * 16777619u;
    return hash;
}

static bool same_name(const unsigned char *a, size_t an, const unsigned char *b, size_t bn)
{
    struct json_unescape ua = json_unescape(a, an), ub = json_unescape(b, bn);
    for (;;) {
        int x = json_unescape_next(&ua), y = json_unescape_next(&ub);
        if (x != y)
            return false;
        if (x < 0)
            return true;
    }
}

static bool remember_name(struct checker *c, unsigned first, const unsigned char *p, size_t n)
{
    if (c->key_count - first >= c->limits.members || c->key_count == NELEMS(c->keys))
        return bad(c, "too many members");
    uint32_t hash = hash_name(p, n);
    for (unsigned i = first; i < c->key_count; i++)
        if (c->keys[i].hash == hash && same_name(c->start + c->keys[i].at, c->keys[i].n, p, n))
            return bad(c, "duplicate member name");
    c->keys[c->key_count++] = (struct key){hash, (uint32_t)(p - c->start), (uint32_t)n};
    return true;
}

static bool check_member(struct checker *c, unsigned first)
{
    skip_space(c);
    if (c->p >= c->end || *c->p != '"')
        return bad(c, "member name expected");
    const unsigned char *name = c->p + 1;
    if (!check_string(c) || !remember_name(c, first, name, (size_t)(c->p - 1 - name)))
        return false;
    skip_space(c);
    if (c->p >= c->end || *c->p != ':')
        return bad(c, "':' expected");
    c->p++;
    return check_value(c);
}

/* Checks the inside of an array or object up to its closing bracket. */
static bool check_container(struct checker *c, unsigned char close)
{
    unsigned first = c->key_count;
    if (++c->depth > c->limits.depth)
        return bad(c, "nested too deeply");
    c->p++;
    skip_space(c);
    if (c->p < c->end && *c->p == close) {
        c->p++;
    } else {
        for (;;) {
            if (!(close == '}' ? check_member(c, first) : check_value(c)))
                return false;
            skip_space(c);
            if (c->p >= c->end || (*c->p != ',' && *c->p != close))
                return bad(c, close == '}' ? "',' or '}' expected" : "',' or ']' expected");
            if (*c->p++ == close)
                break;
        }
    }
    c->depth--;
    c->key_count = first;
    return true;
}

static bool check_value(struct checker *c)
{
    skip_space(c);
    if (c->p >= c->end)
        return bad(c, "value expected");
    switch (*c->p) {
    case '{':
        return check_container(c, '}');
    case '[':
        return check_container(c, ']');
    case '"':
        return check_string(c);
    case 't':
        return check_word(c, "true");
    case 'f':
        return check_word(c, "false");
    case 'n':
        return check_word(c, "null");
    default:
        if (*c->p == '-' || (*c->p >= '0' && *c->p <= '9'))
            return check_number(c);
        return bad(c, "value expected");
    }
}

enum json_kind json_check(struct span text, struct json_limits limits, const char **ret_reason)
{
    struct checker c;
    c.start = c.p = (const unsigned char *)text.p;
    c.end = c.start + text.n;
    c.limits = limits;
    c.depth = c.key_count = 0;
    c.reason = NULL;
    if (text.n == 0 || text.n > UINT32_MAX) {
        *ret_reason = text.n ? "text too long" : "empty text";
        return KIND_NONE;
    }
    if (check_value(&c)) {
        skip_space(&c);
        if (c.p == c.end)
            return json_kind_of(text);
        c.reason = "text behind the value";
    }
    *ret_reason = c.reason;
    return KIND_NONE;
}
