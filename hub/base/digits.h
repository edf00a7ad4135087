/* SPDX-License-Identifier: MIT */
/* Parses digits. Pure functions; any thread. */
#pragma once

#include "hub/base/span.h"

#include <stdint.h>

#define HEX_DIGITS "0123456789abcdef"

/* Returns the value of a hex digit of either case, -1 for any other character. */
int hex_value(char c);
/* Parses an integer: decimal digits with an optional minus, nothing else. False if it is malformed or does
 * not fit. */
bool digits_int(struct span text, int64_t *ret);
