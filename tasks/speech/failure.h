/* SPDX-License-Identifier: MIT */
/* Why an input cannot be read. One thread. */
#pragma once

#include "hub/base/mem.h"

#include <stdio.h>

struct input_failure {
    const char *code; /* a stable word; NULL = none */
    char message[256];
};

/* Notes why no more samples will come; the first reason stays. */
static inline void input_fail(struct input_failure *failure, const char *code, const char *message)
{
    if (failure->code)
        return;
    failure->code = code;
    snprintf(failure->message, sizeof(failure->message), "%s", message);
}
