/* SPDX-License-Identifier: MIT */
/* hub/base/quota.c: limits per holder, giving back, and a random history against plain counters. */
#include "hub/base/quota.h"
#include "tests/lib/tap.h"

#include <sodium.h>

static void test_limits(void)
{
    struct quota quota = {.used = 0};
    struct charge a = {NULL, 0}, b = {NULL, 0}, c = {NULL, 0};
    ok(charge_take(&a, &quota, SPAN("u1"), 2, 3), "within the limit");
    ok(!charge_take(&b, &quota, SPAN("u1"), 2, 3), "not beyond it");
    ok(charge_take(&b, &quota, SPAN("u1"), 1, 3), "up to it");
    ok(!charge_take(&c, &quota, SPAN("u1"), 1, 2), "a limit that has shrunk holds");
    ok(charge_take(&c, &quota, SPAN("u2"), 3, 3), "another holder has a limit of its own");
    is_text(charge_who(&c), "u2", "a charge tells who pays");
    is_int(quota_used(&quota, SPAN("u1")), 3, "what one has");
    is_int(quota.used, 6, "what all have");
    charge_give(&a);
    charge_give(&a);
    is_int(quota_used(&quota, SPAN("u1")), 1, "given back once");
    ok(charge_who(&a) == NULL && charge_quota(&a) == NULL, "and empty then");
    ok(charge_quota(&b) == &quota, "another one is still of its quota");
    ok(charge_take(&a, &quota, SPAN("u1"), 2, 3), "to be taken again");
    charge_give(&a), charge_give(&b), charge_give(&c);
    is_int(quota.used + quota.holders.count, 0, "nothing is left");
    ok(!charge_take(&a, &quota, QUOTA_ONE, 1, 0), "a limit of nothing");
    ok(charge_take(&a, &quota, QUOTA_ONE, SIZE_MAX, QUOTA_UNLIMITED), "no limit");
    ok(!charge_take(&b, &quota, QUOTA_ONE, 1, QUOTA_UNLIMITED), "but no wrapping round");
    charge_give(&a);
    quota_free(&quota);
}

static void test_random(void)
{
    struct quota quota = {.used = 0};
    struct charge charges[200] = {{NULL, 0}};
    size_t owners[200], used[20] = {0};
    unsigned seed = 7;
    bool sound = true;
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1103515245u + 12345u;
        size_t i = (seed >> 16) % NELEMS(charges), who = (seed >> 8) % NELEMS(used), n = 1 + seed % 5;
        char name[8];
        snprintf(name, sizeof name, "u%zu", who);
        if (charges[i].holder) {
            used[owners[i]] -= charges[i].n;
            charge_give(&charges[i]);
        } else if (charge_take(&charges[i], &quota, span_of(name), n, 12)) {
            used[who] += n;
            owners[i] = who;
            sound &= used[who] <= 12;
        } else {
            sound &= used[who] + n > 12;
        }
        sound &= quota_used(&quota, span_of(name)) == used[who];
    }
    for (size_t i = 0; i < NELEMS(charges); i++)
        charge_give(&charges[i]);
    ok(sound && quota.used == 0, "20000 random steps agree with plain counters");
    quota_free(&quota);
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    test_limits();
    test_random();
    return done_testing();
}
