/* SPDX-License-Identifier: MIT */
/* Members of JSON objects; see json_write.h. Any thread; no state. Never checks what it writes. */
#include "hub/json/json_write.h"

#include "hub/base/clock.h"

void json_member(struct buf *to, const char *name)
{
    size_t n = strlen(name);
    bool first = to->len && to->data[to->len - 1] == '{';
    char *p = buf_reserve(to, n + 4);
    if (!first)
        *p++ = ',';
    *p++ = '"';
    memcpy(p, name, n);
    memcpy(p + n, "\":", 2);
    to->len += n + 3 + !first;
}

void json_member_text(struct buf *to, const char *name, struct span text)
{
    json_member(to, name);
    buf_append_json(to, text);
}

void json_member_raw(struct buf *to, const char *name, struct span json, const char *otherwise)
{
    json_member(to, name);
    buf_append_span(to, json.n ? json : span_of(otherwise));
}

void json_member_int(struct buf *to, const char *name, int64_t number)
{
    json_member(to, name);
    buf_append_i64(to, number);
}

void json_member_bool(struct buf *to, const char *name, bool value)
{
    json_member(to, name);
    buf_append_text(to, value ? "true" : "false");
}

void json_member_time(struct buf *to, const char *name, int64_t ms)
{
    char text[CLOCK_TEXT_SIZE] = "";
    if (ms > 0)
        clock_format(ms, text);
    json_member(to, name);
    if (ms > 0)
        buf_append_json(to, span_of(text));
    else
        buf_append_text(to, "null");
}
