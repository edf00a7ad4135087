/* SPDX-License-Identifier: MIT */
/* Allocation and ownership. Any thread. A failed allocation aborts the process: it could not continue
 * usefully, and a service manager restarts it. Code that allocates sizes chosen by a client must bound them
 * first. */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MUSTCHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define CLEANUP(fn) __attribute__((cleanup(fn)))

#define NELEMS(array) (sizeof(array) / sizeof((array)[0]))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Memory from malloc(3) and its relatives; never NULL (aborts). Release with free(). */
void *xmalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
void *xrealloc(void *ptr, size_t size) __attribute__((alloc_size(2), returns_nonnull));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *text, size_t max) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((malloc, returns_nonnull)) PRINTF_LIKE(1, 2);

/* For CLEANUP(free_char): frees the string in a local variable. */
static inline void free_char(char **text)
{
    free(*text);
}
