/* SPDX-License-Identifier: MIT */
/* The ways in which people read a written form aloud: numbers, years, ordinals, decimals, money, clock times,
 * fractions, signs, units and initialisms of English. Any thread. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>

#define READINGS_MAX 20

struct readings {
    char *list[READINGS_MAX]; /* words of [a-z'] with one space between; the usual reading first */
    size_t count;
};

/* The readings of the form that begins at `at`, within UTF-8 text that begins at `text`; the bytes it takes,
 * 0 if none begins there. A word that is read as it stands is no form. Takes at most some hundred bytes at
 * once. Free the readings with readings_free(). */
size_t readings_at(const char *text, const char *at, struct readings *ret);
void readings_free(struct readings *readings);
