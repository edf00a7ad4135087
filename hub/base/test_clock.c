/* SPDX-License-Identifier: MIT */
/* hub/base/clock.c: RFC 3339 text in both directions, monotonic time. */
#include "hub/base/clock.h"

#include "hub/base/mem.h"
#include "tests/lib/tap.h"

static void test_format(void)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {951782399999, "2000-02-28T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1769854830123, "2026-01-31T10:20:30.123Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
        {INT64_MAX, "1970-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        char text[CLOCK_TEXT_SIZE];
        clock_format(rows[i].ms, text);
        is_text(text, rows[i].text, "%" PRId64 " as text", rows[i].ms);
        if (rows[i].ms >= 0 && rows[i].ms < INT64_MAX)
            is_int(clock_parse(text, strlen(text)), rows[i].ms, "%s back to milliseconds", text);
    }
}

static void test_parse(void)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"2026-01-31T10:20:30Z", 1769854830000},
        {"2026-01-31T10:20:30.5Z", 1769854830500},
        {"2026-01-31T10:20:30.123456789Z", 1769854830123},
        {"2026-01-31T12:20:30+02:00", 1769854830000},
        {"2026-01-31T04:50:30-05:30", 1769854830000},
        {"2026-01-31T10:20:30", -1},
        {"2026-01-31", -1},
        {"", -1},
        {"2026-01-31T10:20:30Zx", -1},
        {"2026-01-31T10:20:30+2:00", -1},
        {"2026-01-31T10:20:30+02:00:00", -1},
        {"2026-13-31T10:20:30Z", -1},
        {"2026-01-32T10:20:30Z", -1},
        {"2026-01-31T25:20:30Z", -1},
        {"2026-01-31t10:20:30z", 1769854830000},
        {"2026-01-31T10:20:30.5z", 1769854830500},
        {"2024-02-29T00:00:00Z", 1709164800000},
        {"2016-12-31T23:59:60Z", 1483228800000},
        {"2016-12-31T15:59:60-08:00", 1483228800000},
        {"1969-12-31T23:59:59Z", 0},
        {"1970-01-01T00:00:00+00:01", 0},
        {"2026-02-30T00:00:00Z", -1},
        {"2026-02-29T00:00:00Z", -1},
        {"1900-02-29T00:00:00Z", -1},
        {"2026-04-31T00:00:00Z", -1},
        {"2026-00-10T00:00:00Z", -1},
        {"2026-01-00T00:00:00Z", -1},
        {"2026-01-31T24:00:00Z", -1},
        {"2026-01-31T10:60:00Z", -1},
        {"2026-01-31T10:20:60Z", -1},
        {"2026-01-31T10:20:61Z", -1},
        {"2026-01-31T10:20:30+25:00", -1},
        {"2026-01-31T10:20:30+24:00", -1},
        {"2026-01-31T10:20:30-02:60", -1},
        {"2026-01-31T10:20:30+ 2:00", -1},
        {"2026-01-31T10:20:30.Z", -1},
        {"2026-01-31 10:20:30Z", -1},
        {" 2026-1-31T10:20:30Z", -1},
        {"2026-1-31T010:20:30Z", -1},
        {"+026-01-31T10:20:30Z", -1},
        {"not a time at all, no", -1},
        {"2026-01-31T10:20:30.123456789123456789123456Z", -1},
    };
    for (size_t i = 0; i < NELEMS(rows); i++)
        is_int(clock_parse(rows[i].text, strlen(rows[i].text)), rows[i].ms, "parse '%s'", rows[i].text);
}

int main(void)
{
    test_format();
    test_parse();
    uint64_t us = clock_mono_us(), ms = clock_mono_ms();
    ok(clock_mono_us() >= us && clock_mono_ms() >= ms, "monotonic time does not go back");
    ok(us / 1000 <= ms, "one clock in two units");
    ok(clock_wall_ms() > INT64_C(1700000000000), "wall time is after 2023");
    return done_testing();
}
