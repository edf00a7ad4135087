/* SPDX-License-Identifier: MIT */
/* Growable byte buffer; see buf.h. */
#include "hub/base/buf.h"

#include "hub/base/digits.h"
#include "hub/base/utf8.h"

#include <stdio.h>

void buf_grow(struct buf *buf, size_t more)
{
    size_t cap = buf->cap ? buf->cap : 64;
    while (more > cap - buf->len)
        cap *= 2;
    buf->data = xrealloc(buf->data, cap);
    buf->cap = cap;
}

void buf_append(struct buf *buf, const void *data, size_t size)
{
    if (size == 0)
        return;
    memcpy(buf_reserve(buf, size), data, size);
    buf->len += size;
}

void buf_append_char(struct buf *buf, char c)
{
    *buf_reserve(buf, 1) = c;
    buf->len++;
}

void buf_append_u64(struct buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    buf_append(buf, digits + at, sizeof digits - at);
}

void buf_append_i64(struct buf *buf, int64_t value)
{
    if (value < 0)
        buf_append_char(buf, '-');
    buf_append_u64(buf, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int need = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (need <= 0)
        return;
    char *to = buf_reserve(buf, (size_t)need + 1);
    va_start(args, fmt);
    vsnprintf(to, (size_t)need + 1, fmt, args);
    va_end(args);
    buf->len += (size_t)need;
}

static void append_escaped(struct buf *buf, unsigned char c)
{
    static const char shorts[32] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char out[6] = {'\\', 'u', '0', '0', HEX_DIGITS[c >> 4], HEX_DIGITS[c & 15]};
    if (c == '"' || c == '\\') {
        out[1] = (char)c;
        buf_append(buf, out, 2);
    } else if (c < 32 && shorts[c]) {
        out[1] = shorts[c];
        buf_append(buf, out, 2);
    } else {
        buf_append(buf, out, 6);
    }
}

void buf_append_json(struct buf *buf, struct span text)
{
    const unsigned char *p = (const unsigned char *)(text.p ? text.p : "");
    size_t done = 0;
    buf_append_char(buf, '"');
    for (size_t i = 0, length; (i += utf8_plain(p + i, text.n - i)) < text.n;) {
        length = utf8_length(p + i, text.n - i);
        if (length > 1) {
            i += length;
            continue;
        }
        buf_append(buf, p + done, i - done);
        if (length)
            append_escaped(buf, p[i]);
        else
            buf_append_text(buf, "\xef\xbf\xbd");
        done = ++i;
    }
    buf_append(buf, p + done, text.n - done);
    buf_append_char(buf, '"');
}

void buf_consume(struct buf *buf, size_t size)
{
    if (size < buf->len)
        memmove(buf->data, buf->data + size, buf->len - size);
    buf->len = size < buf->len ? buf->len - size : 0;
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
}

void buf_free(struct buf *buf)
{
    free(buf->data);
    *buf = BUF_INIT;
}

char *buf_take_string(struct buf *buf)
{
    buf_append_char(buf, '\0');
    char *text = buf->data;
    *buf = BUF_INIT;
    return text;
}
