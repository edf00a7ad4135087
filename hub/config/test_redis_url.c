/* SPDX-License-Identifier: MIT */
/* Addresses of Redis: what they mean, which are refused. */
#include "hub/config/redis_url.h"
#include "tests/lib/tap.h"

static void test_good_urls(void)
{
    static const struct {
        const char *text, *unix_path, *host, *user, *password;
        unsigned port, db;
    } rows[] = {
        {"redis://localhost", NULL, "localhost", NULL, NULL, 6379, 0},
        {"redis://", NULL, "127.0.0.1", NULL, NULL, 6379, 0},
        {"redis://10.0.0.1:7000/3", NULL, "10.0.0.1", NULL, NULL, 7000, 3},
        {"redis://u:p%40ss@h:1/", NULL, "h", "u", "p@ss", 1, 0},
        {"redis://:secret@[::1]:6380", NULL, "::1", NULL, "secret", 6380, 0},
        {"redis://a:b@c@host", NULL, "host", "a", "b@c", 6379, 0},
        {"unix:/run/r.sock", "/run/r.sock", NULL, NULL, NULL, 0, 0},
        {"unix://:pw@/run/r.sock", "/run/r.sock", NULL, NULL, "pw", 0, 0},
        {"unix://u:p%40%2Fw@/run/r.sock?db=3", "/run/r.sock", NULL, "u", "p@/w", 0, 3},
        {"unix://:p@w#@/run/r.sock", "/run/r.sock", NULL, NULL, "p@w#", 0, 0},
        {"unix:run/a@b.sock", "run/a@b.sock", NULL, NULL, NULL, 0, 0},
        {"unix:/run/a@/b.sock", "/run/a@/b.sock", NULL, NULL, NULL, 0, 0},
        {"unix:///run/r.sock?db=2", "/run/r.sock", NULL, NULL, NULL, 0, 2},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        struct redis_url url = {0};
        ok(redis_url_parse(rows[i].text, &url) == NULL, "%s parses", rows[i].text);
        is_text(url.unix_path, rows[i].unix_path, "%s: path", rows[i].text);
        is_text(url.places[0].host, rows[i].host, "%s: host", rows[i].text);
        is_text(url.user, rows[i].user, "%s: user", rows[i].text);
        is_text(url.password, rows[i].password, "%s: password", rows[i].text);
        is_int(url.place_count ? url.places[0].port : 0, rows[i].port, "%s: port", rows[i].text);
        is_int(url.db, rows[i].db, "%s: database", rows[i].text);
        redis_url_free(&url);
    }
}

static void test_bad_urls(void)
{
    static const char *const texts[] = {
        "",
        "localhost",
        "http://x",
        "rediss://x",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:x",
        "redis://h/x",
        "redis://h:1/70000",
        "redis://user@h",
        "redis://:p%4@h",
        "redis://:p%00@h",
        "redis://[::1",
        "redis://[::1]x",
        "redis://ho st",
        "redis://a,,b",
        "redis://a,",
        "redis://a,b:x",
        "redis://a,b/1,c",
        "redis://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a",
        "unix:",
        "unix://:pw@",
        "unix://pw@/x",
        "unix://:p%4@/x",
        "unix:/x?db=",
        "unix:/x?name=1",
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel://a/?db=1",
        "redis+sentinel://a,/m",
        "redis+sentinel://a/m%zz",
        "redis+sentinel://u:p/w@a/m",
        "redis+sentinel://a/m?",
        "redis+sentinel://a/m?db=x",
        "redis+sentinel://a/m?db=",
        "redis+sentinel://a/m?db=1&",
        "redis+sentinel://a/m?password=p",
        "redis+sentinel://a/m?sentinel_user=u",
        "redis+sentinel://a/m?sentinel_password=",
        "redis+sentinel://a/m?sentinel_password=a&sentinel_password=b",
        "rediss+sentinel://a/m",
    };
    for (size_t i = 0; i < NELEMS(texts); i++) {
        struct redis_url url = {.db = 77};
        const char *reason = redis_url_parse(texts[i], &url);
        ok(reason && url.db == 77, "'%s' is refused: %s", texts[i], reason ? reason : "");
    }
}

static void test_several(void)
{
    struct redis_url url;
    ok(redis_url_parse("redis://u:p@a,[::1]:7000,c:7001/4", &url) == NULL, "several addresses");
    is_int(url.place_count, 3, "their number");
    is_text(url.places[0].host, "a", "the first");
    is_int(url.places[0].port, 6379, "its port");
    is_text(url.places[1].host, "::1", "the second");
    is_int(url.places[2].port, 7001, "the port of the third");
    is_text(url.password, "p", "one login for all");
    is_int(url.db, 4, "one database for all");
    redis_url_free(&url);
}

/* Sentinels have a login of their own, and the login before @ is the primary's. */
static void test_sentinels(void)
{
    struct redis_url url = {0}, copy;
    ok(redis_url_parse(
           "redis+sentinel://u:p%40@a,[::1]:7000/my%2Fname?sentinel_user=s&db=4&sentinel_password=q%26",
           &url) == NULL,
       "Sentinels");
    copy = redis_url_copy(&url);
    redis_url_free(&url);
    is_int(copy.place_count, 2, "their number");
    is_int(copy.places[0].port, 26379, "the port of a Sentinel");
    is_text(copy.places[1].host, "::1", "the second");
    is_int(copy.places[1].port, 7000, "its port");
    is_text(copy.sentinel, "my/name", "the name of the primary");
    is_text(copy.user, "u", "the user there");
    is_text(copy.password, "p@", "the password there");
    is_text(copy.sentinel_user, "s", "the user at the Sentinels");
    is_text(copy.sentinel_password, "q&", "the password at the Sentinels");
    is_int(copy.db, 4, "the database");
    redis_url_free(&copy);
    ok(redis_url_parse("redis+sentinel://a/m", &url) == NULL && url.sentinel_password == NULL && url.db == 0,
       "the shortest");
    redis_url_free(&url);
}

/* A password that is not encoded: what helps is said. */
static void test_raw_passwords(void)
{
    static const char *const texts[] = {
        "redis://:p@ss#/w@h:6379", "redis://:p/ss@h", "redis://u:p#ss/@h/0", "redis://:p@ss#",
        "redis://:p@h?x:1",        "redis://:p%ss@h", "unix://u:p%zz@/x",
    };
    for (size_t i = 0; i < NELEMS(texts); i++) {
        struct redis_url url = {0};
        const char *reason = redis_url_parse(texts[i], &url);
        ok(reason && strstr(reason, "percent-encode"), "'%s': %s", texts[i], reason ? reason : "taken");
        if (reason == NULL)
            redis_url_free(&url);
    }
}

int main(void)
{
    test_several();
    test_sentinels();
    test_raw_passwords();
    test_good_urls();
    test_bad_urls();
    return done_testing();
}
