/* SPDX-License-Identifier: MIT */
/* hub/base/list.h: order, removal while walking, splicing. */
#include "hub/base/list.h"

#include "tests/lib/tap.h"

struct item {
    int value;
    struct list node;
};

static struct list head, other;
static struct item items[4];

static int value_of(struct list *node)
{
    return container_of(node, struct item, node)->value;
}

/* The values of a list as the digits of a number. */
static int digits(struct list *of)
{
    int number = 0;
    list_for_each (node, of)
        number = number * 10 + value_of(node);
    return number;
}

int main(void)
{
    list_init(&head);
    list_init(&other);
    ok(list_empty(&head), "a new list is empty");
    ok(list_pop(&head) == NULL, "nothing to pop");
    for (int i = 0; i < 4; i++) {
        items[i].value = i + 1;
        list_append(&head, &items[i].node);
    }
    is_int(digits(&head), 1234, "appended in order");
    list_remove(&items[1].node);
    is_int(digits(&head), 134, "removed from the middle");
    list_remove(&items[1].node);
    is_int(digits(&head), 134, "removing twice does nothing");
    list_append(&other, &items[1].node);
    list_splice(&other, &head);
    is_int(digits(&other), 2134, "spliced to the end");
    ok(list_empty(&head), "the spliced list is empty");
    list_splice(&other, &head);
    is_int(digits(&other), 2134, "splicing an empty list does nothing");
    list_for_each_safe (node, after, &other) {
        if (value_of(node) % 2 == 0)
            list_remove(node);
    }
    is_int(digits(&other), 13, "removed while walking");
    is_int(value_of(list_pop(&other)), 1, "popped from the front");
    is_int(digits(&other), 3, "one left");
    return done_testing();
}
