/* SPDX-License-Identifier: MIT */
/* Heads of requests; see head.h. */
#include "hub/net/head.h"

#include <ctype.h>
#include <strings.h>

#define END "\r\n\r\n"

size_t head_length(struct span text, size_t known)
{
    size_t lines = 0;
    while (text.n - lines >= 2 && memcmp(text.p + lines, "\r\n", 2) == 0) /* in front: RFC 9112 §2.2 */
        lines += 2;
    size_t from = known > lines + 3 ? known - 3 : lines;
    const char *end = text.n > from ? memmem(text.p + from, text.n - from, END, 4) : NULL;
    return end ? (size_t)(end - text.p) + 4 : 0;
}

struct span head_trim(struct span text)
{
    while (text.n && (text.p[0] == ' ' || text.p[0] == '\t'))
        text = span_from(text, 1);
    while (text.n && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
        text.n--;
    return text;
}

static bool is_word(struct span text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!isalnum((unsigned char)text.p[i]) &&
            (text.p[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text.p[i]) == NULL))
            return false;
    return text.n > 0;
}

/* Whether all of it may stand in a value (`blanks`) or in a target. */
static bool is_plain(struct span text, bool blanks)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == 0x7f || c < ' ' ? !(blanks && c == '\t') : c == ' ' && !blanks)
            return false;
    }
    return true;
}

/* Cuts the first line off; the text ends with the end of a line. */
static struct span cut_line(struct span *rest)
{
    const char *end = memmem(rest->p, rest->n, "\r\n", 2);
    struct span line = {rest->p, end ? (size_t)(end - rest->p) : rest->n};
    *rest = span_from(*rest, end ? line.n + 2 : line.n);
    return line;
}

/* "/path?query" or "http://host/path?query"; "*" and "host:port" have no path. */
static struct span path_of(struct span target)
{
    if (target.n && target.p[0] != '/') {
        const char *host = memmem(target.p, target.n, "://", 3);
        struct span rest = host ? span_from(target, (size_t)(host + 3 - target.p)) : SPAN_NONE;
        rest = span_cut(&rest, '?');
        const char *path = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
        target = path ? span_from(rest, (size_t)(path - rest.p)) : SPAN_NONE;
    }
    return span_cut(&target, '?');
}

static bool parse_first(struct span line, struct head *ret)
{
    ret->method = span_cut(&line, ' ');
    struct span target = span_cut(&line, ' ');
    ret->path = path_of(target);
    ret->version = line;
    return is_word(ret->method) && target.n && is_plain(target, false) &&
           (span_is(line, "HTTP/1.1") || span_is(line, "HTTP/1.0"));
}

bool head_parse(struct span text, struct head *ret)
{
    while (text.n >= 2 && memcmp(text.p, "\r\n", 2) == 0)
        text = span_from(text, 2);
    if (text.n < 4 || !parse_first(cut_line(&text), ret))
        return false;
    ret->fields = (struct span){text.p, text.n - 2};
    ret->hosts = 0;
    for (struct span rest = ret->fields; rest.n;) {
        struct span value = cut_line(&rest), name = span_cut(&value, ':');
        if (value.p == NULL || !is_word(name) || !is_plain(value, true))
            return false;
        ret->hosts += name.n == 4 && strncasecmp(name.p, "host", 4) == 0;
    }
    return true;
}

bool head_names_host(const struct head *head)
{
    return head->hosts == 1 || (head->hosts == 0 && span_is(head->version, "HTTP/1.0"));
}

struct span head_value(const struct head *head, const char *name, char *joined, size_t size)
{
    struct span found = SPAN_NONE;
    size_t n = strlen(name), used = 0;
    for (struct span rest = head->fields; rest.n;) {
        struct span line = cut_line(&rest);
        if (line.n <= n || line.p[n] != ':' || strncasecmp(line.p, name, n) != 0)
            continue;
        struct span value = head_trim(span_from(line, n + 1));
        if (found.p) {
            if (found.p != joined && found.n < size)
                memcpy(joined, found.p, used = found.n);
            if (found.n + 1 + value.n > size || used + 1 + value.n > size)
                return SPAN("");
            joined[used++] = ',';
            memcpy(joined + used, value.p, value.n);
            value = (struct span){joined, used += value.n};
        }
        found = value;
    }
    return found;
}

bool head_lists(struct span list, const char *word)
{
    while (list.n) {
        struct span one = head_trim(span_cut(&list, ','));
        if (one.n == strlen(word) && strncasecmp(one.p, word, one.n) == 0)
            return true;
    }
    return false;
}
