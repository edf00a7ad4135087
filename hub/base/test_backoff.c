/* The pauses after failures in a row. */
#include "hub/base/backoff.h"
#include "hub/base/mem.h"
#include "tests/lib/tap.h"

static void test_table(void)
{
    static const unsigned want[] = {50, 50, 50, 50, 50, 1000, 2000, 5000, 5000};
    struct backoff backoff = {0};
    for (size_t i = 0; i < NELEMS(want); i++)
        is_int(backoff_failed(&backoff, &backoff_process), want[i], "a process' death %zu", i + 1);
    backoff_succeeded(&backoff);
    is_int(backoff_failed(&backoff, &backoff_process), 50, "from the start after a success");
}

static void test_doubled(void)
{
    struct backoff backoff = {0};
    unsigned most = 50;
    bool within = true, varied = false;
    for (int i = 0; i < 40; i++) {
        unsigned wait = backoff_failed(&backoff, &backoff_connection);
        within = within && wait >= most / 2 && wait <= most;
        varied = varied || wait != most;
        most = most * 2 < 2000 ? most * 2 : 2000;
    }
    ok(within, "between half and all of 50, 100, … 2000 ms");
    ok(varied, "by chance");
}

int main(void)
{
    test_table();
    test_doubled();
    return done_testing();
}
