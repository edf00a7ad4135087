/* SPDX-License-Identifier: MIT */
/* The library of the engine moonshine, hidden behind one file. A process holds its model at most once, loaded
 * by the parent from which children are forked; a child uses it for one task. One thread per process. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct options;

/* Loads library and model unless already loaded (some tenths of a second). False and *ret_reason (free()) if
 * they are missing or do not work here. */
bool moonshine_load(const struct options *options, char **ret_reason) MUSTCHECK;
bool moonshine_loaded(void);
/* What is said in these samples, at 16 kHz, at most 30 s of them (free()); "" if nobody speaks, NULL if the
 * library failed. Takes about 0.07 s per second of samples. */
char *moonshine_text(const int16_t *samples, size_t count);
