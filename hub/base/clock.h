/* SPDX-License-Identifier: MIT */
/* Time. Monotonic time for deadlines and durations, wall time for tokens and display. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CLOCK_TEXT_SIZE 25 /* "2026-01-31T10:20:30.123Z" and the NUL */

/* Milliseconds and microseconds since a fixed moment before the process began; they never go back. */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
/* Milliseconds since 1970-01-01 UTC; jumps when somebody sets the clock. */
int64_t clock_wall_ms(void);

/* Writes wall_ms as RFC 3339 UTC with milliseconds; a time before 1970 or after 9999 prints as 1970. */
void clock_format(int64_t wall_ms, char text[static CLOCK_TEXT_SIZE]);
/* Parses an RFC 3339 time of at most 39 bytes (any offset, fraction optional, `t` and `z` in either case, a
 * leap second counts as the next second). Returns ms since 1970, 0 for an earlier time, -1 if the text is not
 * a time. */
int64_t clock_parse(const char *text, size_t len);
