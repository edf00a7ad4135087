/* SPDX-License-Identifier: MIT */
/* A growable byte buffer. One thread at a time. Aborts when there is no memory, so its user must bound what
 * it appends. */
#pragma once

#include "hub/base/mem.h"
#include "hub/base/span.h"

#include <stdarg.h>
#include <stdint.h>

struct buf {
    char *data; /* NULL before the first append */
    size_t len; /* bytes in use */
    size_t cap; /* bytes allocated */
};

#define BUF_INIT ((struct buf){NULL, 0, 0})

void buf_grow(struct buf *buf, size_t more); /* for buf_reserve() only: allocates more room */

/* Makes room for `more` bytes after the content and returns their address; the caller writes them and raises
 * buf.len. */
static inline char *buf_reserve(struct buf *buf, size_t more)
{
    if (more > buf->cap - buf->len)
        buf_grow(buf, more);
    return buf->data + buf->len;
}

/* The following append a copy. */
void buf_append(struct buf *buf, const void *data, size_t size);
static inline void buf_append_span(struct buf *buf, struct span text)
{
    buf_append(buf, text.p, text.n);
}
static inline void buf_append_text(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}
void buf_append_char(struct buf *buf, char c);
void buf_append_u64(struct buf *buf, uint64_t value); /* decimal */
void buf_append_i64(struct buf *buf, int64_t value);  /* decimal */
/* Appends formatted text without its NUL. */
void buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Appends `text` (UTF-8) as a JSON string (RFC 8259 §7), quoted. An invalid byte becomes U+FFFD; `<`, `>` and
 * U+2028/9 stay as they are. */
void buf_append_json(struct buf *buf, struct span text);
/* Removes the first `size` bytes, at most all. Moves the rest: O(length). */
void buf_consume(struct buf *buf, size_t size);
/* Empties the buffer and keeps its memory. */
void buf_clear(struct buf *buf);
/* Frees the memory; the buffer is empty and can be used again. */
void buf_free(struct buf *buf);
/* The content as a span, valid until the next change. */
static inline struct span buf_span(const struct buf *buf)
{
    return (struct span){buf->data ? buf->data : "", buf->len};
}
/* NUL-terminates the content and hands the memory to the caller (free()); the buffer is empty. */
char *buf_take_string(struct buf *buf);
