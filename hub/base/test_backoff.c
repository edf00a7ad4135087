/* SPDX-License-Identifier: MIT */
/* The waits after failures in a row. */
#include "hub/base/backoff.h"
#include "hub/base/mem.h"
#include "tests/lib/tap.h"

int main(void)
{
    static const unsigned want[] = {50, 50, 50, 50, 50, 1000, 2000, 5000, 5000};
    struct backoff backoff = {0};
    bool within = true;
    for (size_t i = 0; i < NELEMS(want); i++)
        is_int(backoff_failed(&backoff, &backoff_process), want[i], "a process' death %zu", i + 1);
    backoff_succeeded(&backoff);
    for (unsigned i = 0, most = 50; i < 40; i++, most = most * 2 < 2000 ? most * 2 : 2000) {
        unsigned wait = backoff_failed(&backoff, &backoff_connection);
        within = within && wait >= most / 2 && wait <= most;
    }
    ok(within, "a connection: between half and all of 50, 100, … 2000 ms");
    return done_testing();
}
