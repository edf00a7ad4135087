/* SPDX-License-Identifier: MIT */
/* Heads of requests from strangers: where one ends does not depend on how it came, and its fields lie in it.
 */
#include "hub/net/head.h"
#include "tests/fuzz/fuzz.h"

static bool inside(struct span part, struct span whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void look_at(const struct head *head, const char *name)
{
    char joined[32];
    struct span value = head_value(head, name, joined, sizeof joined);
    HOLDS(inside(value, head->fields) || inside(value, (struct span){joined, sizeof joined}));
    HOLDS(span_equal(value, head_trim(value)) || value.p == joined);
    HOLDS(value.n == 0 || memchr(value.p, '\n', value.n) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = fuzz_span(data, size);
    struct head head;
    size_t n = head_length(text, 0);
    for (size_t known = 0; known < (n ? n : size); known++)
        HOLDS(head_length(text, known) == n);
    if (n == 0 || !head_parse((struct span){text.p, n}, &head))
        return 0;
    HOLDS(head.method.n && (head.path.p == NULL || head.path.p[0] == '/'));
    HOLDS(inside(head.fields, (struct span){text.p, n}));
    look_at(&head, "a");
    look_at(&head, "host");
    head_lists(head.fields, "upgrade");
    return 0;
}
