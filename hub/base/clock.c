/* SPDX-License-Identifier: MIT */
/* Time; see clock.h. */
#include "hub/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

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
    static _Thread_local time_t known = -1; /* most calls within a second ask for that second */
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

/* Reads the fraction at *p (".123456") in milliseconds and moves *p behind it. */
static int64_t parse_fraction(const char **p)
{
    int64_t ms = 0, unit = 100;
    if (**p != '.')
        return 0;
    for ((*p)++; **p >= '0' && **p <= '9'; (*p)++) {
        ms += (**p - '0') * unit;
        unit /= 10;
    }
    return ms;
}

int64_t clock_parse(const char *text, size_t len)
{
    char copy[40];
    if (len < 20 || len >= sizeof copy)
        return -1;
    memcpy(copy, text, len);
    copy[len] = '\0';
    struct tm tm = {0};
    const char *p = strptime(copy, "%Y-%m-%dT%H:%M:%S", &tm);
    if (p == NULL)
        return -1;
    int64_t ms = parse_fraction(&p), offset = 0;
    unsigned hours, minutes;
    if (*p == '+' || *p == '-') {
        if (sscanf(p + 1, "%2u:%2u", &hours, &minutes) != 2 || strlen(p) != 6)
            return -1;
        offset = (int64_t)(hours * 60 + minutes) * (*p == '+' ? 60000 : -60000);
    } else if (strcmp(p, "Z") != 0) {
        return -1;
    }
    return (int64_t)timegm(&tm) * 1000 + ms - offset;
}
