/* SPDX-License-Identifier: MIT */
/* Time. Monotonic time for deadlines and durations, wall time for tokens and display. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CLOCK_TEXT_SIZE 25 /* "2026-01-31T10:20:30.123Z" and the NUL */

/* Milliseconds and microseconds since some moment before this process began; never go back. */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
/* Milliseconds since 1970-01-01 UTC; jumps when somebody sets the clock. */
int64_t clock_wall_ms(void);

/* Writes wall_ms as RFC 3339 UTC with milliseconds; a time before 1970 or after 9999 prints as 1970. */
void clock_format(int64_t wall_ms, char text[static CLOCK_TEXT_SIZE]);
/* Parses an RFC 3339 time of at most 39 bytes (any offset, fraction optional, `t` and `z` in either case, a
 * leap second as the one behind it) to milliseconds since 1970, 0 if it lies before; -1 if it is none. */
int64_t clock_parse(const char *text, size_t len);
