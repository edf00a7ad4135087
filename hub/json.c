/* The strict JSON slicer; see json.h. One recursive-descent pass checks the text; everything after
 * it may trust the grammar and only walks. */
#include "hub/json.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>

/* ---- checking ------------------------------------------------------------------------------- */

struct key { /* a member name inside the text, and its hash: names are compared by hash first */
    uint32_t hash;
    uint32_t at, n;
};

struct checker {
    const unsigned char *start, *p, *end;
    struct json_limits limits;
    unsigned depth;
    const char *reason;
    struct key keys[JSON_MEMBERS_MAX * 2]; /* names of the open objects, innermost last */
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

/* RFC 3629 §4, without overlong forms, surrogates and values above U+10FFFF. */
static bool check_utf8(struct checker *c)
{
    const unsigned char *p = c->p;
    size_t left = (size_t)(c->end - p), more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left <= more)
        return bad(c, "invalid UTF-8");
    unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return bad(c, "invalid UTF-8");
    for (size_t i = 2; i <= more; i++)
        if ((p[i] & 0xc0) != 0x80)
            return bad(c, "invalid UTF-8");
    c->p += more + 1;
    return true;
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The four hex digits at p as a number, -1 if they are not four. */
static long hex4(const unsigned char *p, const unsigned char *end)
{
    long value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static bool check_unicode_escape(struct checker *c) /* c->p is behind "\u" */
{
    long unit = hex4(c->p, c->end);
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
    long low = hex4(c->p + 2, c->end);
    if (low < 0xdc00 || low > 0xdfff)
        return bad(c, "lone surrogate");
    c->p += 6;
    return true;
}

static bool check_string(struct checker *c) /* c->p is at the opening quote */
{
    for (c->p++; c->p < c->end;) {
        unsigned char b = *c->p;
        if (b == '"') {
            c->p++;
            return true;
        }
        if (b < 0x20)
            return bad(c, "control character in a string");
        if (b >= 0x80) {
            if (!check_utf8(c))
                return false;
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

/* Decodes the next character of an escaped name, one byte at a time; -1 at the end. Only used for
 * hashing and comparing, so \u sequences become UTF-8 on the fly. */
struct unescape {
    const unsigned char *p, *end;
    unsigned char out[4];
    unsigned have, given;
};

static void encode_utf8(struct unescape *u, unsigned long code)
{
    u->given = 0;
    if (code < 0x80) {
        u->out[0] = (unsigned char)code;
        u->have = 1;
    } else if (code < 0x800) {
        u->out[0] = (unsigned char)(0xc0 | code >> 6);
        u->out[1] = (unsigned char)(0x80 | (code & 0x3f));
        u->have = 2;
    } else if (code < 0x10000) {
        u->out[0] = (unsigned char)(0xe0 | code >> 12);
        u->out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        u->out[2] = (unsigned char)(0x80 | (code & 0x3f));
        u->have = 3;
    } else {
        u->out[0] = (unsigned char)(0xf0 | code >> 18);
        u->out[1] = (unsigned char)(0x80 | (code >> 12 & 0x3f));
        u->out[2] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        u->out[3] = (unsigned char)(0x80 | (code & 0x3f));
        u->have = 4;
    }
}

static unsigned long unescape_unicode(struct unescape *u) /* u->p is behind "\u" */
{
    unsigned long code = (unsigned long)hex4(u->p, u->end);
    u->p += 4;
    if (code >= 0xd800 && code <= 0xdbff) {
        unsigned long low = (unsigned long)hex4(u->p + 2, u->end);
        u->p += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    return code;
}

static int unescape_next(struct unescape *u)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    if (u->given < u->have)
        return u->out[u->given++];
    if (u->p >= u->end)
        return -1;
    if (*u->p != '\\')
        return *u->p++;
    unsigned char kind = u->p[1];
    u->p += 2;
    if (kind == 'u') {
        encode_utf8(u, unescape_unicode(u));
        return u->out[u->given++];
    }
    const char *at = strchr(from, kind);
    return at ? (unsigned char)to[at - from] : kind;
}

static struct unescape unescape_begin(const void *p, size_t n)
{
    return (struct unescape){.p = p, .end = (const unsigned char *)p + n};
}

static uint32_t hash_name(const unsigned char *p, size_t n) /* FNV-1a over the decoded name */
{
    struct unescape u = unescape_begin(p, n);
    uint32_t hash = 2166136261u;
    for (int byte; (byte = unescape_next(&u)) >= 0;)
        hash = (hash ^ (uint32_t)byte) * 16777619u;
    return hash;
}

static bool same_name(const unsigned char *a, size_t an, const unsigned char *b, size_t bn)
{
    struct unescape ua = unescape_begin(a, an), ub = unescape_begin(b, bn);
    for (;;) {
        int x = unescape_next(&ua), y = unescape_next(&ub);
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

/* The inside of an array or object up to its closing bracket. */
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

/* ---- walking text that was checked ------------------------------------------------------------ */

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
    value = json_trim(value);
    switch (value.n ? value.p[0] : '\0') {
    case '\0':
        return KIND_NONE;
    case '{':
        return KIND_OBJECT;
    case '[':
        return KIND_ARRAY;
    case '"':
        return KIND_STRING;
    case 't':
        return KIND_TRUE;
    case 'f':
        return KIND_FALSE;
    case 'n':
        return KIND_NULL;
    default:
        return number_kind(value);
    }
}

static const char *after_string(const char *p) /* p is at the opening quote */
{
    for (p++; *p != '"'; p++)
        if (*p == '\\')
            p++;
    return p + 1;
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
    struct unescape u = unescape_begin(key.p, key.n);
    for (size_t i = 0; i < n; i++)
        if (unescape_next(&u) != (unsigned char)name[i])
            return false;
    return unescape_next(&u) < 0;
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
    struct unescape u = unescape_begin(inner.p, inner.n);
    for (int byte; (byte = unescape_next(&u)) >= 0;)
        buf_append_char(to, (char)byte);
}

static size_t decoded_length(struct span value)
{
    value = json_trim(value);
    if (memchr(value.p, '\\', value.n) == NULL)
        return value.n - 2;
    struct unescape u = unescape_begin(value.p + 1, value.n - 2);
    size_t n = 0;
    while (unescape_next(&u) >= 0)
        n++;
    return n;
}

bool json_string_copy(struct span value, char *to, size_t size)
{
    value = json_trim(value);
    struct unescape u = unescape_begin(value.p + 1, value.n - 2);
    size_t n = 0;
    for (int byte; (byte = unescape_next(&u)) >= 0;) {
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
    char text[24];
    value = json_trim(value);
    if (json_kind_of(value) != KIND_INTEGER || value.n >= sizeof text)
        return false;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    if (errno)
        return false;
    *ret = number;
    return true;
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

/* ---- shapes ----------------------------------------------------------------------------------- */

static const char *kind_word(unsigned kinds)
{
    static const struct {
        unsigned kind;
        const char *word;
    } words[] = {
        {KIND_STRING, "a string"},  {KIND_INTEGER, "an integer"}, {KIND_NUMBER, "a number"},
        {KIND_OBJECT, "an object"}, {KIND_ARRAY, "an array"},     {KIND_TRUE, "true or false"},
        {KIND_NULL, "null"},
    };
    if (kinds & KIND_NUMBER)
        return "a number";
    for (size_t i = 0; i < NELEMS(words); i++)
        if (kinds & words[i].kind)
            return words[i].word;
    return "absent";
}

static bool refuse(struct json_field_error *error, struct span name, const char *expected)
{
    snprintf(error->field, sizeof error->field, "%.*s", (int)(name.n > 64 ? 64 : name.n), name.p);
    snprintf(error->message, sizeof error->message, "%s: %s", error->field, expected);
    return false;
}

static int64_t count_elements(struct span array)
{
    struct json_iter iter = json_walk(array);
    struct span value;
    int64_t n = 0;
    while (json_next_element(&iter, &value))
        n++;
    return n;
}

/* Whether the value's size lies in the field's range; the text of the range goes to `expected`. */
static bool in_range(const struct json_field *f, struct span value, enum json_kind kind, char *expected,
                     size_t size)
{
    int64_t n = 0;
    const char *unit = "between";
    if (f->min == 0 && f->max == 0)
        return true;
    if (kind == KIND_STRING) {
        n = (int64_t)decoded_length(value);
        unit = "text of bytes between";
    } else if (kind == KIND_ARRAY) {
        n = count_elements(value);
        unit = "a list of length between";
    } else if (kind & (KIND_INTEGER | KIND_NUMBER)) {
        double number;
        snprintf(expected, size, "must be between %lld and %lld", (long long)f->min, (long long)f->max);
        if (kind == KIND_INTEGER)
            return json_int(value, &n) && n >= f->min && n <= f->max;
        return json_double(value, &number) && number >= (double)f->min && number <= (double)f->max;
    } else {
        return true;
    }
    snprintf(expected, size, "must be %s %lld and %lld", unit, (long long)f->min, (long long)f->max);
    return n >= f->min && n <= f->max;
}

static bool is_word(const struct json_field *f, struct span value, char *expected, size_t size)
{
    size_t at = (size_t)snprintf(expected, size, "must be one of");
    for (const char *const *word = f->words; *word; word++) {
        if (json_string_is(value, *word))
            return true;
        if (at < size)
            at += (size_t)snprintf(expected + at, size - at, " %s", *word);
    }
    return false;
}

static bool match_one(const struct json_field *f, struct span value, struct json_field_error *error)
{
    char expected[120];
    unsigned kinds =
        f->kinds | (f->kinds & KIND_NUMBER ? KIND_INTEGER : 0u) | (f->kinds & KIND_TRUE ? KIND_FALSE : 0u);
    enum json_kind kind = json_kind_of(value);
    if (!(kind & kinds)) {
        snprintf(expected, sizeof expected, "must be %s", kind_word(f->kinds));
        return refuse(error, span_of(f->name), expected);
    }
    if (!in_range(f, value, kind, expected, sizeof expected))
        return refuse(error, span_of(f->name), expected);
    if (kind == KIND_STRING && f->words && !is_word(f, value, expected, sizeof expected))
        return refuse(error, span_of(f->name), expected);
    return true;
}

static size_t find_field(const struct json_field *fields, size_t count, struct span key)
{
    size_t i = 0;
    while (i < count && !json_key_is(key, fields[i].name))
        i++;
    return i;
}

bool json_match(struct span object, const struct json_field *fields, size_t count, struct span *values,
                struct json_field_error *ret_error)
{
    for (size_t i = 0; i < count; i++)
        values[i] = SPAN_NONE;
    if (object.p) {
        struct json_iter iter = json_walk(object);
        struct span key, value;
        while (json_next_member(&iter, &key, &value)) {
            size_t i = find_field(fields, count, key);
            if (i == count)
                return refuse(ret_error, key, "unknown field");
            if (!match_one(&fields[i], value, ret_error))
                return false;
            values[i] = value;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (fields[i].required && values[i].p == NULL)
            return refuse(ret_error, span_of(fields[i].name), "is required");
    return true;
}
