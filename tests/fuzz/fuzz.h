/* SPDX-License-Identifier: MIT */
/* What every fuzz target is: one function, called with arbitrary bytes; it must return 0 and never crash,
 * leak or take long. Linked with libFuzzer (-Dfuzz=true) or with replay.c. */
#pragma once

#include "hub/base/mem.h"
#include "hub/base/span.h"

#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process when a property does not hold. */
#define HOLDS(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                   \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static inline struct span fuzz_span(const uint8_t *data, size_t size)
{
    return (struct span){size ? (const char *)data : "", size};
}
