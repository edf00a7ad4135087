/* SPDX-License-Identifier: MIT */
/* A borrowed piece of text: pointer and length, not NUL-terminated, owned by another object. Pure functions;
 * any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
    const char *p; /* NULL = absent */
    size_t n;      /* bytes */
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})
#define SPAN_NONE ((struct span){NULL, 0})
/* For printf("%.*s", SPAN_ARG(s)). */
#define SPAN_ARG(s) (int)(s).n, (s).p

/* The span of a NUL-terminated string; SPAN_NONE for NULL. */
static inline struct span span_of(const char *text)
{
    return (struct span){text, text ? strlen(text) : 0};
}

/* Compares the bytes; absent and empty are equal. */
static inline bool span_equal(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool span_is(struct span a, const char *text)
{
    return span_equal(a, span_of(text));
}

static inline bool span_begins(struct span text, const char *with)
{
    size_t n = strlen(with);
    return text.n >= n && memcmp(text.p, with, n) == 0;
}

/* The text after its first `n` bytes; n is at most its length. */
static inline struct span span_from(struct span text, size_t n)
{
    return (struct span){text.p + n, text.n - n};
}

/* Cuts `rest` at its first `at`: returns the part before, leaves the part after. Without an `at` it returns
 * everything and leaves SPAN_NONE. */
static inline struct span span_cut(struct span *rest, char at)
{
    struct span all = *rest;
    const char *found = all.n ? memchr(all.p, at, all.n) : NULL;
    *rest = found ? span_from(all, (size_t)(found - all.p) + 1) : SPAN_NONE;
    return found ? (struct span){all.p, (size_t)(found - all.p)} : all;
}
