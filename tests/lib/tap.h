/* SPDX-License-Identifier: MIT */
/* Unit tests that speak TAP (Test Anything Protocol 12), read by `meson test`. One program per module;
 * each check is a line of its own, the plan comes last. Checks may run on one thread only; the program
 * goes on after a failure, so that one run shows them all.
 *
 *     ok(list_empty(&head), "a new list is empty");
 *     is_int(buf.len, 3, "three bytes");
 *     is_text(name, "noop", "name of type %d", i);
 *     return done_testing();
 */
#pragma once

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static unsigned tap_count_, tap_failed_;

/* Ends a check's line; a diagnostic of a failure follows it. */
__attribute__((format(printf, 4, 0))) static inline bool tap_result_(bool passed, const char *file, int line,
                                                                     const char *fmt, va_list ap)
{
    char name[256];
    vsnprintf(name, sizeof(name), fmt, ap);
    for (char *c = name; *c; c++)
        if (*c == '#' || *c == '\n' || *c == '\r')
            *c = ' '; /* would begin a directive or another line */
    printf("%sok %u - %s\n", passed ? "" : "not ", ++tap_count_, name);
    if (!passed) {
        tap_failed_++;
        printf("#   at %s line %d\n", file, line);
    }
    fflush(stdout);
    return passed;
}

__attribute__((format(printf, 4, 5))) static inline bool tap_ok_(bool passed, const char *file, int line,
                                                                 const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tap_result_(passed, file, line, fmt, ap);
    va_end(ap);
    return passed;
}

__attribute__((format(printf, 5, 6))) static inline bool
tap_is_int_(int64_t got, int64_t want, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool passed = tap_result_(got == want, file, line, fmt, ap);
    va_end(ap);
    if (!passed)
        printf("#   got %" PRId64 ", want %" PRId64 "\n", got, want);
    return passed;
}

/* Prints text so that it stays on one comment line. */
static inline void tap_quote_(const char *label, const char *text, size_t n)
{
    printf("#   %s ", label);
    if (!text) {
        printf("NULL\n");
        return;
    }
    putchar('"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    printf("\" (%zu bytes)\n", n);
}

__attribute__((format(printf, 7, 8))) static inline bool tap_is_bytes_(const char *got, size_t got_n,
                                                                       const char *want, size_t want_n,
                                                                       const char *file, int line,
                                                                       const char *fmt, ...)
{
    bool same =
        (!got && !want) || (got && want && got_n == want_n && (got_n == 0 || memcmp(got, want, got_n) == 0));
    va_list ap;
    va_start(ap, fmt);
    tap_result_(same, file, line, fmt, ap);
    va_end(ap);
    if (!same) {
        tap_quote_("got ", got, got_n);
        tap_quote_("want", want, want_n);
    }
    return same;
}

static inline size_t tap_length_(const char *text)
{
    return text ? strlen(text) : 0;
}

/* The condition holds. Gives the condition back. */
#define ok(condition, ...) tap_ok_((condition), __FILE__, __LINE__, __VA_ARGS__)
/* Two integers are equal (any integer type that fits into 64 signed bits). */
#define is_int(got, want, ...) tap_is_int_((int64_t)(got), (int64_t)(want), __FILE__, __LINE__, __VA_ARGS__)
/* Two C strings are equal; NULL equals NULL only. The arguments are evaluated once. */
#define is_text(got, want, ...)                                                                              \
    __extension__({                                                                                          \
        const char *tap_got_ = (got), *tap_want_ = (want);                                                   \
        tap_is_bytes_(tap_got_, tap_length_(tap_got_), tap_want_, tap_length_(tap_want_), __FILE__,          \
                      __LINE__, __VA_ARGS__);                                                                \
    })
/* A struct span (hub/base/span.h) holds exactly this C string; the absent span equals NULL only. */
#define is_span(got, want, ...)                                                                              \
    __extension__({                                                                                          \
        const struct span tap_span_ = (got);                                                                 \
        const char *tap_want_ = (want);                                                                      \
        tap_is_bytes_(tap_span_.p, tap_span_.n, tap_want_, tap_length_(tap_want_), __FILE__, __LINE__,       \
                      __VA_ARGS__);                                                                          \
    })

/* A comment line in the output. */
__attribute__((format(printf, 1, 2))) static inline void diag(const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    printf("# %s\n", text);
}

static inline double tap_seconds_(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* How much longer than its own work something takes on this machine now (whoever waits for a turn waits at
 * each of several processes), and under sanitizers (TASKHUB_TEST_SLOWDOWN). Measured with 50 ms of CPU. */
static inline double slowdown(void)
{
    const char *sanitizer = getenv("TASKHUB_TEST_SLOWDOWN");
    double wall = tap_seconds_(CLOCK_MONOTONIC), cpu = tap_seconds_(CLOCK_PROCESS_CPUTIME_ID), used = 0;
    while (used < 0.05)
        used = tap_seconds_(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    double factor = 2 * (tap_seconds_(CLOCK_MONOTONIC) - wall) / used - 1;
    return (factor > 1 ? factor : 1) * (sanitizer ? strtod(sanitizer, NULL) : 1);
}

/* Whether something took no longer than `quiet_ms`, the limit on a quiet machine, would on this one. */
static inline bool in_time(uint64_t took_ms, uint64_t quiet_ms)
{
    return took_ms <= quiet_ms || (double)took_ms <= (double)quiet_ms * slowdown();
}

/* The whole program cannot run here (a server or a package is missing). Does not return. */
__attribute__((noreturn)) static inline void skip_all(const char *reason)
{
    printf("1..0 # SKIP %s\n", reason);
    exit(0);
}

/* Prints the plan. The exit code of main(): 0 when every check passed. */
static inline int done_testing(void)
{
    printf("1..%u\n", tap_count_);
    return tap_failed_ ? 1 : 0;
}
