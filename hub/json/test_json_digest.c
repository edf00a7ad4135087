/* SPDX-License-Identifier: MIT */
/* hub/json/json_digest.c: the same for all spellings of a value, another for all others. Random trees are
 * written in two ways, and so is a changed copy; what they mean is compared as sorted canonical text. */
#include "hub/json/json_digest.h"

#include "hub/json/json.h"
#include "tests/lib/tap.h"

#define NODES 400
#define ROUNDS 4000

static uint64_t seed = 0x9e3779b97f4a7c15u;

static unsigned below(unsigned n) /* SplitMix64 */
{
    uint64_t z = (seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (unsigned)((z ^ (z >> 31)) % n);
}

/* ---- trees ---------------------------------------------------------------------------------------- */

struct node {
    char kind;        /* { [ s n t f 0 */
    char digits[12];  /* n: without zeros at the ends; "" = 0 */
    bool minus;       /* n */
    int exponent;     /* n: of the last digit */
    const char *name; /* of a member: plain */
    const char *text; /* s: plain */
    unsigned count, child[6];
};

static struct node nodes[NODES];
static unsigned used;

static const char *const texts[] = {"",  "a",  "b",       "ab", "1", "\"", "\\", "/",
                                    "ä", "\n", "\t\x01z", "😀",  "0", "{}", "ü\r"};

static void make_number(struct node *node)
{
    static const char *const digits[] = {"", "1", "12", "5", "100001", "98765432101", "9"};
    static const int exponents[] = {0, 0, 0, 1, -1, 2, -7, 20, 308, -400};
    snprintf(node->digits, sizeof node->digits, "%s", digits[below(NELEMS(digits))]);
    node->minus = node->digits[0] && below(3) == 0;
    node->exponent = node->digits[0] ? exponents[below(NELEMS(exponents))] : 0;
}

static unsigned make(unsigned depth)
{
    static const char kinds[] = "{{[[ssnnntf0";
    unsigned at = used++;
    struct node *node = &nodes[at];
    *node = (struct node){.kind = kinds[below(depth ? 12 : 8) + (depth ? 0 : 4)]};
    node->text = texts[below(NELEMS(texts))];
    if (node->kind == 'n')
        make_number(node);
    if (node->kind == '{' || node->kind == '[')
        node->count = below(6);
    unsigned first = below(NELEMS(texts));
    for (unsigned i = 0; i < node->count; i++) {
        unsigned child = make(depth - 1);
        nodes[at].child[i] = child;
        nodes[child].name = texts[(first + i) % NELEMS(texts)];
    }
    return at;
}

/* Something small in the tree becomes something else, or the same again. */
static void change(void)
{
    struct node *node = &nodes[below(used)];
    if (node->kind == 's')
        node->text = texts[below(NELEMS(texts))];
    else if (node->kind == 'n')
        make_number(node);
    else if (node->kind == '[' && node->count > 1) {
        unsigned last = node->child[node->count - 1];
        node->child[node->count - 1] = node->child[0];
        node->child[0] = last;
    } else if (node->count)
        node->count--;
    else
        node->kind = "tf0[{"[below(5)];
}

/* ---- the plain way -------------------------------------------------------------------------------- */

static void canonical(struct buf *to, unsigned at);

static int by_name(const void *a, const void *b)
{
    return strcmp(nodes[*(const unsigned *)a].name, nodes[*(const unsigned *)b].name);
}

static void canonical_children(struct buf *to, const struct node *node)
{
    unsigned order[6];
    memcpy(order, node->child, sizeof order);
    if (node->kind == '{')
        qsort(order, node->count, sizeof *order, by_name);
    for (unsigned i = 0; i < node->count; i++) {
        if (node->kind == '{')
            buf_append_json(to, span_of(nodes[order[i]].name));
        canonical(to, order[i]);
        buf_append_char(to, ',');
    }
}

static void canonical(struct buf *to, unsigned at)
{
    const struct node *node = &nodes[at];
    buf_append_char(to, node->kind);
    if (node->kind == 's')
        buf_append_json(to, span_of(node->text));
    else if (node->kind == 'n')
        buf_printf(to, "%s%s e%d", node->minus ? "-" : "", node->digits, node->exponent);
    canonical_children(to, node);
    buf_append_char(to, '.');
}

/* ---- spellings ------------------------------------------------------------------------------------ */

static void space(struct buf *to)
{
    for (unsigned n = below(4) ? 0 : below(4); n; n--)
        buf_append_char(to, " \t\r\n"[below(4)]);
}

static void spell_text(struct buf *to, const char *text)
{
    buf_append_char(to, '"');
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (strncmp(p, "😀", 4) == 0 && below(2)) {
            buf_append_text(to, below(2) ? "\\uD83D\\uDE00" : "\\ud83d\\ude00");
            p += 3;
        } else if (strncmp(p, "ä", 2) == 0 && below(2)) {
            buf_append_text(to, below(2) ? "\\u00e4" : "\\u00E4");
            p++;
        } else if (c < 0x20 || (c < 0x80 && below(4) == 0)) {
            buf_printf(to, "\\u%04x", c);
        } else if (c == '"' || c == '\\' || (c == '/' && below(2))) {
            buf_printf(to, "\\%c", c);
        } else {
            buf_append_char(to, *p);
        }
    }
    buf_append_char(to, '"');
}

/* digits × 10^exponent, the point anywhere. */
static void spell_number(struct buf *to, const struct node *node)
{
    char digits[64];
    int zeros = (int)below(4), exponent = node->exponent - zeros;
    snprintf(digits, sizeof digits, "%s%.*s", node->digits[0] ? node->digits : "0", zeros, "0000");
    int n = (int)strlen(digits), behind = (int)below((unsigned)n + 3);
    if (node->minus || (!node->digits[0] && below(2)))
        buf_append_char(to, '-');
    if (!node->digits[0]) {
        buf_append_text(to, (const char *[]){"0", "0.0", "0e7", "0.00E-3"}[below(4)]);
        return;
    }
    if (behind >= n)
        buf_printf(to, "0.%.*s%s", behind - n, "000", digits);
    else if (behind)
        buf_printf(to, "%.*s.%s", n - behind, digits, digits + n - behind);
    else
        buf_append_text(to, digits);
    exponent += behind;
    if (exponent || below(3) == 0)
        buf_printf(to, "%c%s%d", "eE"[below(2)], exponent >= 0 && below(2) ? "+" : "", exponent);
}

static void spell(struct buf *to, unsigned at)
{
    const struct node *node = &nodes[at];
    unsigned turn = node->kind == '{' && node->count ? below(node->count) : 0;
    space(to);
    if (node->kind == 's')
        spell_text(to, node->text);
    else if (node->kind == 'n')
        spell_number(to, node);
    else if (node->kind != '{' && node->kind != '[')
        buf_append_text(to, node->kind == 't' ? "true" : node->kind == 'f' ? "false" : "null");
    else
        buf_append_char(to, node->kind);
    for (unsigned i = 0; i < node->count; i++) {
        unsigned child = node->child[(i + turn) % node->count];
        if (i)
            buf_append_char(to, ',');
        if (node->kind == '{') {
            space(to);
            spell_text(to, nodes[child].name);
            space(to);
            buf_append_char(to, ':');
        }
        spell(to, child);
    }
    if (node->kind == '{' || node->kind == '[')
        buf_append_char(to, node->kind == '{' ? '}' : ']');
    space(to);
}

/* ---- the property --------------------------------------------------------------------------------- */

struct written {
    struct buf text, canonical;
    unsigned char digest[JSON_DIGEST_SIZE];
};

static bool write_tree(struct written *written, unsigned root)
{
    const char *reason = "";
    buf_clear(&written->text);
    buf_clear(&written->canonical);
    spell(&written->text, root);
    canonical(&written->canonical, root);
    if (json_check(buf_span(&written->text), JSON_LIMITS, &reason) == KIND_NONE) {
        diag("%s: %.*s", reason, SPAN_ARG(buf_span(&written->text)));
        return false;
    }
    json_digest(buf_span(&written->text), written->digest);
    return true;
}

/* Whether digests and canonical texts say the same of the two. */
static bool agree(const struct written *a, const struct written *b)
{
    bool same = span_equal(buf_span(&a->canonical), buf_span(&b->canonical));
    bool digests = memcmp(a->digest, b->digest, JSON_DIGEST_SIZE) == 0;
    if (same != digests)
        diag("%s: %.*s and %.*s", same ? "differ" : "are the same", SPAN_ARG(buf_span(&a->text)),
             SPAN_ARG(buf_span(&b->text)));
    return same == digests;
}

static void test_random(void)
{
    struct written a = {0}, b = {0}, c = {0};
    unsigned good = 0, same = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        used = 0;
        unsigned root = make(3);
        bool written = write_tree(&a, root) && write_tree(&b, root);
        change();
        written = written && write_tree(&c, root);
        good += written && agree(&a, &b) && agree(&a, &c);
        same += span_equal(buf_span(&a.canonical), buf_span(&c.canonical));
    }
    is_int(good, ROUNDS, "digests of random trees are the same exactly when the sorted texts are");
    ok(same > 0 && same < ROUNDS, "%u of the changes changed nothing", same);
    buf_free(&a.text);
    buf_free(&a.canonical);
    buf_free(&b.text);
    buf_free(&b.canonical);
    buf_free(&c.text);
    buf_free(&c.canonical);
}

/* ---- examples ------------------------------------------------------------------------------------- */

static bool same_digest(const char *a, const char *b)
{
    unsigned char x[JSON_DIGEST_SIZE], y[JSON_DIGEST_SIZE];
    json_digest(span_of(a), x);
    json_digest(span_of(b), y);
    return memcmp(x, y, sizeof x) == 0;
}

static void test_examples(void)
{
    static const char *const same[][2] = {
        {"{\"a\":1,\"b\":[2,3]}", " { \"b\" : [ 2 , 3 ] , \"\\u0061\" : 1.0 } "},
        {"-0", "0.0e9"},
        {"1e400", "10E399"},
        {"0.001", "1e-3"},
        {"123456789012345678901234567890", "1.23456789012345678901234567890e29"},
        {"1e99999999999999999999", "1e9999999999999999999"}, /* beyond what is told apart */
    };
    static const char *const different[][2] = {
        {"1", "\"1\""},
        {"[]", "{}"},
        {"[1,2]", "[2,1]"},
        {"[[1],2]", "[[1,2]]"},
        {"{\"a\":{\"b\":1},\"c\":2}", "{\"a\":{\"b\":1,\"c\":2}}"},
        {"{\"a\":\"b\"}", "{\"b\":\"a\"}"},
        {"123456789012345678901234567890", "123456789012345678901234567891"},
        {"1e400", "1e401"},
        {"null", "false"},
        {"\"null\"", "null"},
        {"\"\"", "\" \""},
    };
    for (size_t i = 0; i < NELEMS(same); i++)
        ok(same_digest(same[i][0], same[i][1]), "%s is %s", same[i][0], same[i][1]);
    for (size_t i = 0; i < NELEMS(different); i++)
        ok(!same_digest(different[i][0], different[i][1]), "%s is not %s", different[i][0], different[i][1]);
}

/* Stored digests are compared by later processes: this one may change with the key of hash() only. */
static void test_stable(void)
{
    static const unsigned char want[JSON_DIGEST_SIZE] = {0xa1, 0x7c, 0x72, 0xdd, 0x3f, 0x0f, 0xb2, 0x77,
                                                         0x6a, 0x30, 0x77, 0x38, 0xba, 0x09, 0x4a, 0xd0};
    unsigned char digest[JSON_DIGEST_SIZE];
    json_digest(SPAN("{\"steps\":3,\"text\":\"\\u00e4\",\"list\":[true,null,-1.5e3]}"), digest);
    if (!ok(memcmp(digest, want, sizeof want) == 0, "the digest of every build"))
        for (size_t i = 0; i < sizeof digest; i++)
            diag("0x%02x", digest[i]);
}

int main(void)
{
    test_examples();
    test_stable();
    test_random();
    return done_testing();
}
