/* The digest of a checked JSON text, made without a tree in one pass; see json_digest.h. Any thread. */
#include "hub/json/json_digest.h"

#include "hub/json/json.h"

#include <sodium.h>

struct digest {
    uint64_t half[2];
};

struct digester {
    struct buf scratch; /* decoded strings, shortest numbers */
};

_Static_assert(sizeof(struct digest) == JSON_DIGEST_SIZE, "a digest is one hash");
_Static_assert(sizeof(struct digest) == crypto_shorthash_siphashx24_BYTES, "SipHash-2-4-128");

/* What is hashed has a key of its own by its kind, so that "1" and 1 differ. Changing the key changes every
 * digest. */
static struct digest hash(char kind, const void *bytes, size_t size)
{
    unsigned char key[crypto_shorthash_siphashx24_KEYBYTES + 1] = "taskhub json 1 ?";
    struct digest digest;
    key[crypto_shorthash_siphashx24_KEYBYTES - 1] = (unsigned char)kind;
    crypto_shorthash_siphashx24((unsigned char *)&digest, bytes, size, key);
    return digest;
}

static bool separates(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',' || c == ':';
}

static const char *skip(const char *p)
{
    while (separates(*p))
        p++;
    return p;
}

/* ---- strings and numbers -------------------------------------------------------------------------- */

/* Behind the closing quote of the string at p. */
static const char *string_end(const char *p, const char *end)
{
    for (const char *quote = p + 1;; quote++) {
        quote = memchr(quote, '"', (size_t)(end - quote));
        const char *slash = quote;
        while (slash[-1] == '\\')
            slash--;
        if ((quote - slash) % 2 == 0)
            return quote + 1;
    }
}

static const char *string_digest(struct digester *d, const char *p, const char *end, struct digest *ret)
{
    const char *behind = string_end(p, end);
    struct span text = {p + 1, (size_t)(behind - p - 2)};
    if (memchr(text.p, '\\', text.n)) {
        buf_clear(&d->scratch);
        json_string_append(&d->scratch, (struct span){p, (size_t)(behind - p)});
        text = buf_span(&d->scratch);
    }
    *ret = hash('s', text.p, text.n);
    return behind;
}

#define EXPONENT_MAX 1000000000000000 /* beyond, exponents are not told apart */

static int64_t exponent_of(struct span text)
{
    bool minus = text.n && text.p[0] == '-';
    int64_t value = 0;
    for (size_t i = text.n && (minus || text.p[0] == '+') ? 1 : 0; i < text.n; i++)
        value = value < EXPONENT_MAX / 10 ? value * 10 + (text.p[i] - '0') : EXPONENT_MAX;
    return minus ? -value : value;
}

/* Appends the digits from the first to the last that is not 0; returns the exponent that goes with them. */
static int64_t append_digits(struct buf *to, struct span text)
{
    size_t start = to->len;
    int64_t exponent = 0;
    bool fraction = false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '.') {
            fraction = true;
            continue;
        }
        exponent -= fraction;
        if (text.p[i] != '0' || to->len > start)
            buf_append_char(to, text.p[i]);
    }
    while (to->len > start && to->data[to->len - 1] == '0') {
        to->len--;
        exponent++;
    }
    return exponent;
}

/* The shortest text of the number's exact value: "-12e-1", "0". */
static void append_number(struct buf *to, struct span text)
{
    size_t e = 0;
    bool minus = text.p[0] == '-';
    struct span digits = {text.p + minus, text.n - minus};
    while (e < digits.n && (digits.p[e] | 0x20) != 'e')
        e++;
    struct span power = e < digits.n ? (struct span){digits.p + e + 1, digits.n - e - 1} : SPAN("");
    digits.n = e;
    if (minus)
        buf_append_char(to, '-');
    int64_t exponent = append_digits(to, digits);
    if (to->len == minus) { /* only zeros */
        buf_clear(to);
        buf_append_char(to, '0');
        return;
    }
    buf_append_char(to, 'e');
    buf_append_i64(to, exponent + exponent_of(power));
}

static const char *number_digest(struct digester *d, const char *p, const char *end, struct digest *ret)
{
    const char *from = p;
    while (p < end && !separates(*p) && *p != ']' && *p != '}')
        p++;
    buf_clear(&d->scratch);
    append_number(&d->scratch, (struct span){from, (size_t)(p - from)});
    *ret = hash('n', d->scratch.data, d->scratch.len);
    return p;
}

/* ---- values --------------------------------------------------------------------------------------- */

static const char *value_digest(struct digester *d, const char *p, const char *end, struct digest *ret);

/* Each element is hashed with what stands before it. */
static const char *array_digest(struct digester *d, const char *p, const char *end, struct digest *ret)
{
    struct digest chain[2] = {hash('a', "", 0)};
    for (p = skip(p + 1); *p != ']'; p = skip(p)) {
        p = value_digest(d, p, end, &chain[1]);
        chain[0] = hash('a', chain, sizeof chain);
    }
    *ret = chain[0];
    return p + 1;
}

/* The sum of the members' hashes, so that their order is nothing. */
static const char *object_digest(struct digester *d, const char *p, const char *end, struct digest *ret)
{
    struct digest sum = {{0, 0}};
    for (p = skip(p + 1); *p != '}'; p = skip(p)) {
        struct digest member[2];
        p = string_digest(d, p, end, &member[0]);
        p = value_digest(d, skip(p), end, &member[1]);
        member[0] = hash('m', member, sizeof member);
        sum.half[0] += member[0].half[0];
        sum.half[1] += member[0].half[1];
    }
    *ret = hash('o', &sum, sizeof sum);
    return p + 1;
}

static const char *value_digest(struct digester *d, const char *p, const char *end, struct digest *ret)
{
    switch (*p) {
    case '{':
        return object_digest(d, p, end, ret);
    case '[':
        return array_digest(d, p, end, ret);
    case '"':
        return string_digest(d, p, end, ret);
    case 't':
    case 'f':
    case 'n':
        *ret = hash('w', p, 1);
        return p + (*p == 'f' ? 5 : 4);
    default:
        return number_digest(d, p, end, ret);
    }
}

void json_digest(struct span text, unsigned char ret_digest[static JSON_DIGEST_SIZE])
{
    struct digester d = {BUF_INIT};
    struct digest digest;
    text = json_trim(text);
    value_digest(&d, text.p, text.p + text.n, &digest);
    memcpy(ret_digest, &digest, sizeof digest);
    buf_free(&d.scratch);
}
