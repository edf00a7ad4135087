/* SPDX-License-Identifier: MIT */
/* Parses the address of a Redis; see redis.h. Any thread; no I/O. */
#include "hub/redis/redis.h"

#include "hub/base/buf.h"
#include "hub/base/digits.h"

/* Decodes %XX; NULL if an escape is broken or spells NUL. */
static char *percent_decode(struct span text)
{
    struct buf out CLEANUP(buf_free) = BUF_INIT;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '%') {
            if (text.n - i < 3)
                return NULL;
            int high = hex_value(text.p[i + 1]), low = hex_value(text.p[i + 2]);
            if (high < 0 || low < 0 || high + low == 0)
                return NULL;
            c = (char)(high * 16 + low);
            i += 2;
        }
        buf_append_char(&out, c);
    }
    return buf_take_string(&out);
}

/* Cuts `text` at the first `c`: the part before it is returned, the rest stays in *text (absent if there
 * is no `c`). */
static struct span cut(struct span *text, char c)
{
    struct span head = *text;
    const char *at = text->n ? memchr(text->p, c, text->n) : NULL;
    if (at) {
        head.n = (size_t)(at - text->p);
        *text = (struct span){at + 1, text->n - head.n - 1};
    } else {
        *text = SPAN_NONE;
    }
    return head;
}

static bool parse_number(struct span text, unsigned max, unsigned *ret)
{
    int64_t value;
    if (text.n > 5 || !digits_int(text, &value) || text.p[0] == '-' || value > max)
        return false;
    *ret = (unsigned)value;
    return true;
}

static bool starts_with(struct span text, const char *prefix)
{
    size_t n = strlen(prefix);
    return text.n >= n && memcmp(text.p, prefix, n) == 0;
}

/* unix:PATH[?db=N] */
static const char *parse_unix(struct span rest, struct redis_url *url)
{
    if (starts_with(rest, "//"))
        rest = (struct span){rest.p + 2, rest.n - 2};
    struct span path = cut(&rest, '?');
    if (path.n == 0)
        return "the socket's path is missing";
    if (rest.p &&
        (!starts_with(rest, "db=") || !parse_number((struct span){rest.p + 3, rest.n - 3}, 65535, &url->db)))
        return "after ? only db=NUMBER is understood";
    url->unix_path = percent_decode(path);
    return url->unix_path ? NULL : "broken % escape in the path";
}

static const char *parse_login(struct span login, struct redis_url *url)
{
    struct span user = cut(&login, ':');
    if (login.p == NULL)
        return "the password is missing (user:password@ or :password@)";
    if (user.n && (url->user = percent_decode(user)) == NULL)
        return "broken % escape in the user name";
    url->password = percent_decode(login);
    return url->password ? NULL : "broken % escape in the password";
}

/* host[:port] or [v6 address][:port] */
static const char *parse_host(struct span text, struct redis_url *url)
{
    struct span host;
    if (starts_with(text, "[")) {
        text = (struct span){text.p + 1, text.n - 1};
        host = cut(&text, ']');
        if (text.p == NULL)
            return "the bracket around the address is not closed";
        if (text.n && text.p[0] != ':')
            return "after ] only :PORT may follow";
        text = text.n ? (struct span){text.p + 1, text.n - 1} : SPAN_NONE;
    } else {
        host = cut(&text, ':');
    }
    if (text.p && (!parse_number(text, 65535, &url->port) || url->port == 0))
        return "the port is not a number from 1 to 65535";
    if (host.n == 0)
        host = SPAN("127.0.0.1");
    if (memchr(host.p, '%', host.n) || memchr(host.p, ' ', host.n))
        return "the host name is malformed";
    url->host = xstrndup(host.p, host.n);
    return NULL;
}

/* [user:password@]host[:port][/db] */
static const char *parse_tcp(struct span rest, struct redis_url *url)
{
    struct span place = cut(&rest, '/');
    if (rest.n && !parse_number(rest, 65535, &url->db))
        return "the database after / is not a number";
    const char *at = place.n ? memrchr(place.p, '@', place.n) : NULL;
    if (at) {
        size_t n = (size_t)(at - place.p);
        const char *reason = parse_login((struct span){place.p, n}, url);
        if (reason)
            return reason;
        place = (struct span){at + 1, place.n - n - 1};
    }
    return parse_host(place, url);
}

bool redis_url_parse(const char *text, struct redis_url *ret, const char **ret_reason)
{
    struct redis_url url = {.port = 6379};
    struct span all = span_of(text);
    const char *reason = "it must begin with redis:// or unix:";
    if (starts_with(all, "redis://"))
        reason = parse_tcp((struct span){all.p + 8, all.n - 8}, &url);
    else if (starts_with(all, "unix:"))
        reason = parse_unix((struct span){all.p + 5, all.n - 5}, &url);
    else if (starts_with(all, "rediss://"))
        reason = "TLS to Redis (rediss://) is not in this build";
    if (reason) {
        redis_url_free(&url);
        *ret_reason = reason;
        return false;
    }
    *ret = url;
    return true;
}

void redis_url_free(struct redis_url *url)
{
    free(url->unix_path);
    free(url->host);
    free(url->user);
    free(url->password);
    *url = (struct redis_url){0};
}
