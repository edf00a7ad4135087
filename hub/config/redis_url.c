/* SPDX-License-Identifier: MIT */
/* Parses the address of a Redis; see redis_url.h. Any thread; no state. Never resolves or connects. */
#include "hub/config/redis_url.h"

#include "hub/base/buf.h"
#include "hub/base/digits.h"

/* Decodes %XX (RFC 3986 §2.1); NULL if an escape is broken or spells NUL. */
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

#define ENCODE "percent-encode / ? # @ % in user name and password (%2F %3F %23 %40 %25)"

static bool parse_number(struct span text, unsigned max, unsigned *ret)
{
    int64_t value;
    if (text.n > 5 || !digits_int(text, &value) || text.p[0] == '-' || value > max)
        return false;
    *ret = (unsigned)value;
    return true;
}

static const char *parse_login(struct span login, struct redis_url *url)
{
    struct span user = span_cut(&login, ':');
    if (login.p == NULL)
        return "the password is missing (user:password@ or :password@)";
    if (user.n && (url->user = percent_decode(user)) == NULL)
        return "broken % escape in the user name; " ENCODE;
    url->password = percent_decode(login);
    return url->password ? NULL : "broken % escape in the password; " ENCODE;
}

/* [user:password@] before a path that begins with '/'; *rest becomes the path. */
static const char *cut_login(struct span *rest, struct redis_url *url)
{
    const char *at = span_begins(*rest, "/") ? NULL : memmem(rest->p, rest->n, "@/", 2);
    if (at == NULL)
        return NULL;
    size_t n = (size_t)(at - rest->p);
    const char *reason = parse_login((struct span){rest->p, n}, url);
    *rest = span_from(*rest, n + 1);
    return reason;
}

/* unix:PATH[?db=N], unix://[user:password@]/PATH[?db=N] */
static const char *parse_unix(struct span rest, struct redis_url *url)
{
    if (span_begins(rest, "//")) {
        rest = span_from(rest, 2);
        const char *reason = cut_login(&rest, url);
        if (reason)
            return reason;
        if (!span_begins(rest, "/"))
            return "behind unix:// comes a path that begins with / (or user:password@ and then that)";
    }
    struct span path = span_cut(&rest, '?');
    if (path.n == 0)
        return "the socket's path is missing";
    if (rest.p && (!span_begins(rest, "db=") || !parse_number(span_from(rest, 3), 65535, &url->db)))
        return "after ? only db=NUMBER is understood";
    url->unix_path = percent_decode(path);
    return url->unix_path ? NULL : "broken % escape in the path";
}

/* host[:port] or [v6 address][:port] */
static const char *parse_place(struct span text, unsigned port, struct redis_place *place)
{
    struct span host;
    place->port = port;
    if (span_begins(text, "[")) {
        text = span_from(text, 1);
        host = span_cut(&text, ']');
        if (text.p == NULL)
            return "the bracket around the address is not closed";
        if (text.n && text.p[0] != ':')
            return "after ] only :PORT may follow";
        text = text.n ? span_from(text, 1) : SPAN_NONE;
    } else {
        host = span_cut(&text, ':');
    }
    if (text.p && (memchr(text.p, '#', text.n) || memchr(text.p, '?', text.n)))
        return "the port holds # or ?; " ENCODE;
    if (text.p && (!parse_number(text, 65535, &place->port) || place->port == 0))
        return "the port is not a number from 1 to 65535";
    if (host.n == 0)
        host = SPAN("127.0.0.1");
    if (memchr(host.p, '#', host.n) || memchr(host.p, '?', host.n))
        return "the host name holds # or ?; " ENCODE;
    if (memchr(host.p, '%', host.n) || memchr(host.p, ' ', host.n))
        return "the host name is malformed";
    place->host = xstrndup(host.p, host.n);
    return NULL;
}

/* place[,place…] */
static const char *parse_places(struct span text, unsigned port, struct redis_url *url)
{
    bool several = text.n && memchr(text.p, ',', text.n);
    do {
        struct span place = span_cut(&text, ',');
        if (several && place.n == 0)
            return "an address is missing between commas";
        if (url->place_count == REDIS_PLACES_MAX)
            return "at most 16 addresses";
        const char *reason = parse_place(place, port, &url->places[url->place_count]);
        if (reason)
            return reason;
        url->place_count++;
    } while (text.p);
    return NULL;
}

/* [user:password@]place[,place…] */
static const char *parse_authority(struct span text, unsigned port, struct redis_url *url)
{
    const char *at = text.n ? memrchr(text.p, '@', text.n) : NULL;
    if (at) {
        size_t n = (size_t)(at - text.p);
        const char *reason = parse_login((struct span){text.p, n}, url);
        if (reason)
            return reason;
        text = span_from(text, n + 1);
    }
    return parse_places(text, port, url);
}

/* [user:password@]place[,place…][/db] */
static const char *parse_tcp(struct span rest, struct redis_url *url)
{
    struct span authority = span_cut(&rest, '/');
    if (rest.n && memchr(rest.p, '@', rest.n))
        return "there is a / in front of the @; " ENCODE;
    if (rest.n && !parse_number(rest, 65535, &url->db))
        return "the database after / is not a number";
    return parse_authority(authority, 6379, url);
}

/* db=N, sentinel_user=U or sentinel_password=P */
static const char *parse_parameter(struct span text, struct redis_url *url)
{
    struct span value = text, name = span_cut(&value, '=');
    char **to = span_is(name, "sentinel_user")       ? &url->sentinel_user
                : span_is(name, "sentinel_password") ? &url->sentinel_password
                                                     : NULL;
    if (to == NULL)
        return span_is(name, "db") && value.n && parse_number(value, 65535, &url->db)
                   ? NULL
                   : "after ? only db=NUMBER, sentinel_user= and sentinel_password= are understood, parted "
                     "by &";
    if (*to)
        return "sentinel_user or sentinel_password is given twice";
    *to = value.n ? percent_decode(value) : NULL;
    return *to ? NULL : "sentinel_user or sentinel_password is empty, or has a broken % escape";
}

/* [user:password@]place[,place…]/NAME[?parameter[&parameter…]] */
static const char *parse_sentinel(struct span rest, struct redis_url *url)
{
    struct span authority = span_cut(&rest, '/'), name = span_cut(&rest, '?');
    if (name.n && memchr(name.p, '@', name.n))
        return "there is a / in front of the @; " ENCODE;
    if (name.n == 0)
        return "behind the Sentinels comes /NAME, what they call the primary";
    while (rest.p) {
        const char *reason = parse_parameter(span_cut(&rest, '&'), url);
        if (reason)
            return reason;
    }
    if (url->sentinel_user && url->sentinel_password == NULL)
        return "sentinel_password is missing beside sentinel_user";
    url->sentinel = percent_decode(name);
    if (url->sentinel == NULL)
        return "broken % escape in the name of the primary";
    return parse_authority(authority, 26379, url);
}

const char *redis_url_parse(const char *text, struct redis_url *ret)
{
    struct redis_url url = {0};
    struct span all = span_of(text);
    const char *reason = "must be redis://[user:password@]host[:port][,host[:port]…][/db], unix:PATH or "
                         "redis+sentinel://[user:password@]host[:port][,host[:port]…]/NAME";
    if (span_begins(all, "redis://"))
        reason = parse_tcp(span_from(all, 8), &url);
    else if (span_begins(all, "unix:"))
        reason = parse_unix(span_from(all, 5), &url);
    else if (span_begins(all, "redis+sentinel://"))
        reason = parse_sentinel(span_from(all, 17), &url);
    else if (span_begins(all, "rediss://") || span_begins(all, "rediss+sentinel://"))
        reason = "TLS to Redis (rediss://) is not in this build";
    if (reason)
        redis_url_free(&url);
    else
        *ret = url;
    return reason;
}

/* All texts except those of the places. */
#define TEXTS(url)                                                                                           \
    {                                                                                                        \
        &(url)->unix_path, &(url)->user, &(url)->password, &(url)->sentinel, &(url)->sentinel_user,          \
            &(url)->sentinel_password,                                                                       \
    }

struct redis_url redis_url_copy(const struct redis_url *url)
{
    struct redis_url copy = *url;
    char **texts[] = TEXTS(&copy);
    for (size_t i = 0; i < NELEMS(texts); i++)
        *texts[i] = *texts[i] ? xstrdup(*texts[i]) : NULL;
    for (unsigned i = 0; i < url->place_count; i++)
        copy.places[i].host = xstrdup(url->places[i].host);
    return copy;
}

void redis_url_free(struct redis_url *url)
{
    char **texts[] = TEXTS(url);
    for (size_t i = 0; i < NELEMS(texts); i++)
        free(*texts[i]);
    for (unsigned i = 0; i < url->place_count; i++)
        free(url->places[i].host);
    *url = (struct redis_url){0};
}
