/* SPDX-License-Identifier: MIT */
/* hub/net/head.c: what is a head of a request, and what its fields say. */
#include "hub/net/head.h"

#include "tests/lib/tap.h"

static void test_length(void)
{
    struct span text = SPAN("\r\n\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nbody");
    size_t whole = text.n - 4;
    for (size_t n = 0; n <= text.n; n++)
        for (size_t known = 0; known <= n && known < whole; known++)
            if (head_length((struct span){text.p, n}, known) != (n < whole ? 0 : whole))
                is_int(n, known, "%zu bytes, of which %zu were looked at", n, known);
    is_int(head_length(SPAN("\r\n\r\n"), 0), 0, "empty lines are no head");
    is_int(head_length(SPAN("GET / HTTP/1.1\n\n"), 0), 0, "lines end with CR LF");
}

static void test_first_line(void)
{
    const struct {
        struct span text;
        const char *path, *version;
    } rows[] = {
        {SPAN("GET /ws HTTP/1.1\r\n\r\n"), "/ws", "HTTP/1.1"},
        {SPAN("GET /ws?a=/b?c HTTP/1.0\r\n\r\n"), "/ws", "HTTP/1.0"},
        {SPAN("\r\nGET / HTTP/1.1\r\n\r\n"), "/", "HTTP/1.1"},
        {SPAN("GET http://host:80/a/b?c HTTP/1.1\r\n\r\n"), "/a/b", "HTTP/1.1"},
        {SPAN("GET http://host HTTP/1.1\r\n\r\n"), NULL, "HTTP/1.1"},
        {SPAN("GET http://host?a=/ws HTTP/1.1\r\n\r\n"), NULL, "HTTP/1.1"},
        {SPAN("OPTIONS * HTTP/1.1\r\n\r\n"), NULL, "HTTP/1.1"},
        {SPAN("CONNECT host:443 HTTP/1.1\r\n\r\n"), NULL, "HTTP/1.1"},
        {SPAN("GET / HTTP/2.0\r\n\r\n"), NULL, NULL},
        {SPAN("GET / HTTP/1.1 \r\n\r\n"), NULL, NULL},
        {SPAN("GET  / HTTP/1.1\r\n\r\n"), NULL, NULL},
        {SPAN("GET /\0 HTTP/1.1\r\n\r\n"), NULL, NULL},
        {SPAN("GET /\x7f HTTP/1.1\r\n\r\n"), NULL, NULL},
        {SPAN("G(T / HTTP/1.1\r\n\r\n"), NULL, NULL},
        {SPAN(" GET / HTTP/1.1\r\n\r\n"), NULL, NULL},
        {SPAN("GET /\r\n\r\n"), NULL, NULL},
        {SPAN("\r\n\r\n"), NULL, NULL},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        struct head head;
        bool good = head_parse(rows[i].text, &head);
        is_int(good, rows[i].version != NULL, "request line %zu", i);
        if (good) {
            is_span(head.path, rows[i].path, "its path");
            is_span(head.version, rows[i].version, "its version");
        }
    }
}

static void test_faults(void)
{
    const struct span rows[] = {
        SPAN("no colon"), SPAN("A : b"),      SPAN(" A: b"),        SPAN("A: b\r\n c"),
        SPAN(": b"),      SPAN("A: b\nC: d"), SPAN("A: b\rC: d"),   SPAN("A: b\0c"),
        SPAN("A: \x7f"),  SPAN("A\t: b"),     SPAN("A\xc3\xa9: b"),
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        char text[128];
        struct head head;
        size_t n = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\n");
        memcpy(text + n, rows[i].p, rows[i].n);
        memcpy(text + n + rows[i].n, "\r\n\r\n", 4);
        ok(!head_parse((struct span){text, n + rows[i].n + 4}, &head), "a line that is no field: %zu", i);
    }
}

static void test_values(void)
{
    struct head head;
    char joined[12];
    ok(head_parse(
           SPAN("GET / HTTP/1.1\r\nHost:x\r\nUPGRADE: \t websocket \t\r\nEmpty:\r\nList: a\r\nlist:\r\n"
                "LIST:  b \r\nText: \xc3\xa9 is fine\r\nLong: 12345678\r\nLong: 9\r\nLong: 0\r\n\r\n"),
           &head),
       "a request");
    is_span(head_value(&head, "host", joined, sizeof joined), "x", "no blank is needed");
    is_span(head_value(&head, "upgrade", joined, sizeof joined), "websocket", "blanks around do not count");
    is_span(head_value(&head, "empty", joined, sizeof joined), "", "an empty value");
    is_span(head_value(&head, "lis", joined, sizeof joined), NULL, "a name is whole");
    is_span(head_value(&head, "list", joined, sizeof joined), "a,,b", "several lines are one list");
    is_span(head_value(&head, "text", joined, sizeof joined), "\xc3\xa9 is fine", "bytes above ASCII");
    is_span(head_value(&head, "long", joined, 11), "", "a list that is too long for its place");
    is_span(head_value(&head, "long", joined, sizeof joined), "12345678,9,0", "and one that just fits");
    ok(head_parse(SPAN("GET / HTTP/1.1\r\n\r\n"), &head), "no fields at all");
    is_span(head_value(&head, "host", joined, sizeof joined), NULL, "no value");
}

static void test_hosts(void)
{
    const struct {
        struct span text;
        bool names;
    } rows[] = {
        {SPAN("GET / HTTP/1.1\r\nA: b\r\nHOST: x\r\n\r\n"), true},
        {SPAN("GET / HTTP/1.1\r\nHost:\r\n\r\n"), true},
        {SPAN("GET / HTTP/1.1\r\nHosts: x\r\n\r\n"), false},
        {SPAN("GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n"), false},
        {SPAN("GET / HTTP/1.0\r\n\r\n"), true},
        {SPAN("GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n"), false},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        struct head head;
        ok(head_parse(rows[i].text, &head) && head_names_host(&head) == rows[i].names, "hosts: %zu", i);
    }
}

static void test_lists(void)
{
    ok(head_lists(SPAN("keep-alive, Upgrade"), "upgrade"), "the second word");
    ok(head_lists(SPAN(",\tUPGRADE\t,"), "upgrade"), "blanks and empty words");
    ok(!head_lists(SPAN("upgrades"), "upgrade"), "a longer word");
    ok(!head_lists(SPAN("up grade"), "upgrade"), "two words");
    ok(!head_lists(SPAN_NONE, "upgrade"), "no list");
}

int main(void)
{
    test_length();
    test_first_line();
    test_faults();
    test_values();
    test_hosts();
    test_lists();
    return done_testing();
}
