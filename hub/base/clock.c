/* SPDX-License-Identifier: MIT */
/* Time; see clock.h. */
#include "hub/base/clock.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX 40 /* buffer for a time to parse, one byte more than the longest */

static struct timespec now(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return ts;
}

uint64_t clock_mono_us(void)
{
    struct timespec ts = now(CLOCK_MONOTONIC);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000u;
}

int64_t clock_wall_ms(void)
{
    struct timespec ts = now(CLOCK_REALTIME);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void clock_format(int64_t wall_ms, char text[static CLOCK_TEXT_SIZE])
{
    static _Thread_local time_t known = -1; /* most calls ask for the current second again */
    static _Thread_local char second[CLOCK_TEXT_SIZE];
    static _Thread_local size_t n;
    if (wall_ms < 0 || wall_ms > INT64_C(253402300799999))
        wall_ms = 0;
    time_t seconds = (time_t)(wall_ms / 1000);
    if (seconds != known) {
        struct tm tm;
        gmtime_r(&seconds, &tm);
        n = strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &tm);
        known = seconds;
    }
    unsigned ms = (unsigned)(wall_ms % 1000);
    char *p = mempcpy(text, second, n);
    *p++ = '.';
    *p++ = (char)('0' + ms / 100);
    *p++ = (char)('0' + ms / 10 % 10);
    *p++ = (char)('0' + ms % 10);
    *p++ = 'Z';
    *p = '\0';
}

struct cursor { /* position in a text; `bad` is set when the text is not as expected */
    const char *p, *end;
    bool bad;
};

/* Reads a number of exactly `digits` digits between min and max. */
static int number(struct cursor *at, unsigned digits, int min, int max)
{
    int n = 0;
    for (; digits && at->p < at->end && *at->p >= '0' && *at->p <= '9'; digits--)
        n = n * 10 + (*at->p++ - '0');
    at->bad |= digits || n < min || n > max;
    return n;
}

/* Skips one of two characters. */
static void expect(struct cursor *at, char c, char other)
{
    at->bad |= at->p == at->end || (*at->p != c && *at->p != other);
    at->p += at->p < at->end;
}

static int days_of(int year, int month)
{
    static const char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* Seconds since 1970 of a date and a time of day; second 60 is the next minute's first. */
static int64_t date_and_time(struct cursor *at)
{
    struct tm tm = {0};
    int year = number(at, 4, 0, 9999);
    expect(at, '-', '-');
    int month = number(at, 2, 1, 12);
    expect(at, '-', '-');
    tm.tm_mday = number(at, 2, 1, at->bad ? 31 : days_of(year, month));
    expect(at, 'T', 't');
    tm.tm_hour = number(at, 2, 0, 23);
    expect(at, ':', ':');
    tm.tm_min = number(at, 2, 0, 59);
    expect(at, ':', ':');
    tm.tm_sec = number(at, 2, 0, 60);
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    return at->bad ? -1 : (int64_t)timegm(&tm);
}

/* Reads ".123456" as milliseconds, cut to three digits; 0 if there is no fraction. */
static int64_t fraction(struct cursor *at)
{
    int64_t ms = 0, unit = 100;
    if (at->p == at->end || *at->p != '.')
        return 0;
    const char *first = ++at->p;
    for (; at->p < at->end && *at->p >= '0' && *at->p <= '9'; at->p++) {
        ms += (*at->p - '0') * unit;
        unit /= 10;
    }
    at->bad |= at->p == first;
    return ms;
}

/* Reads "Z" or "+hh:mm": the seconds that the zone is ahead of UTC. */
static int64_t zone(struct cursor *at)
{
    bool ahead = at->p < at->end && *at->p == '+';
    if (!ahead && (at->p == at->end || *at->p != '-')) {
        expect(at, 'Z', 'z');
        return 0;
    }
    at->p++;
    int hours = number(at, 2, 0, 23);
    expect(at, ':', ':');
    int64_t seconds = hours * 3600 + number(at, 2, 0, 59) * 60;
    return ahead ? seconds : -seconds;
}

int64_t clock_parse(const char *text, size_t len)
{
    struct cursor at = {text, text + len, false};
    if (len >= TEXT_MAX)
        return -1;
    int64_t seconds = date_and_time(&at);
    bool leap = !at.bad && at.p[-2] == '6';
    int64_t ms = fraction(&at);
    seconds -= zone(&at);
    if (at.bad || at.p != at.end || (leap && seconds % 86400 != 0))
        return -1;
    return seconds < 0 ? 0 : seconds * 1000 + ms;
}
