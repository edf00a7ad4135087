/* SPDX-License-Identifier: MIT */
/* The digest of a checked JSON text, made without building a tree; see json_digest.h. Any thread; no
 * state. */
#include "hub/json/json_digest.h"

#include "hub/json/json.h"

#include <sodium.h>

struct digest {
    uint64_t half[2];
};

_Static_assert(sizeof(struct digest) == JSON_DIGEST_SIZE, "a digest is one hash");
_Static_assert(sizeof(struct digest) == crypto_shorthash_siphashx24_BYTES, "SipHash-2-4-128");

/* Each kind of value is hashed with its own key, so that "1" and 1 differ. Changing a key changes every
 * digest. */
static struct digest hash(char kind, const void *bytes, size_t size)
{
    unsigned char key[crypto_shorthash_siphashx24_KEYBYTES + 1] = "taskhub json 1 ?";
    struct digest digest;
    key[crypto_shorthash_siphashx24_KEYBYTES - 1] = (unsigned char)kind;
    crypto_shorthash_siphashx24((unsigned char *)&digest, bytes, size, key);
    return digest;
}

/* `scratch` is for decoded strings and shortest numbers. */
static struct digest string_digest(struct buf *scratch, struct span quoted)
{
    struct span text = {quoted.p + 1, quoted.n - 2};
    if (memchr(text.p, '\\', text.n)) {
        buf_clear(scratch);
        json_string_append(scratch, quoted);
        text = buf_span(scratch);
    }
    return hash('s', text.p, text.n);
}

/* ---- numbers ---- */

#define EXPONENT_MAX 1000000000000000 /* larger exponents are treated as equal */

static int64_t exponent_of(struct span text)
{
    bool minus = text.n && text.p[0] == '-';
    int64_t value = 0;
    for (size_t i = text.n && (minus || text.p[0] == '+') ? 1 : 0; i < text.n; i++)
        value = value < EXPONENT_MAX / 10 ? value * 10 + (text.p[i] - '0') : EXPONENT_MAX;
    return minus ? -value : value;
}

/* Appends the digits from the first to the last that is not 0; returns the matching exponent. */
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

/* ---- values ---- */

static struct digest value_digest(struct buf *scratch, struct span value);

/* Hashes each element together with all before it. */
static struct digest array_digest(struct buf *scratch, struct span array)
{
    struct digest chain[2] = {hash('a', "", 0)};
    struct json_iter iter = json_walk(array);
    for (struct span value; json_next_element(&iter, &value);) {
        chain[1] = value_digest(scratch, value);
        chain[0] = hash('a', chain, sizeof chain);
    }
    return chain[0];
}

/* Sums the members' hashes, so that their order does not matter. */
static struct digest object_digest(struct buf *scratch, struct span object)
{
    struct digest sum = {{0, 0}}, member[2];
    struct json_iter iter = json_walk(object);
    for (struct span key, value; json_next_member(&iter, &key, &value);) {
        member[0] = string_digest(scratch, (struct span){key.p - 1, key.n + 2});
        member[1] = value_digest(scratch, value);
        member[0] = hash('m', member, sizeof member);
        sum.half[0] += member[0].half[0];
        sum.half[1] += member[0].half[1];
    }
    return hash('o', &sum, sizeof sum);
}

static struct digest value_digest(struct buf *scratch, struct span value)
{
    switch (json_kind_of(value)) {
    case KIND_OBJECT:
        return object_digest(scratch, value);
    case KIND_ARRAY:
        return array_digest(scratch, value);
    case KIND_STRING:
        return string_digest(scratch, value);
    case KIND_INTEGER:
    case KIND_NUMBER:
        buf_clear(scratch);
        append_number(scratch, value);
        return hash('n', scratch->data, scratch->len);
    default:
        return hash('w', value.p, 1);
    }
}

void json_digest(struct span text, unsigned char ret_digest[static JSON_DIGEST_SIZE])
{
    struct buf scratch CLEANUP(buf_free) = BUF_INIT;
    struct digest digest = value_digest(&scratch, json_trim(text));
    memcpy(ret_digest, &digest, sizeof digest);
}
