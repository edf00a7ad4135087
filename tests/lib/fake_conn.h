/* Connections as a test of the handlers sees them: what was sent to each, in order, as lines of text.
 * Include it once. */
#pragma once

#include "hub/net/conn.h"
#include "hub/owners/owners.h"

#include <stdio.h>

#define FAKE_CONNS 8

struct conn {
    void *app, *user;
    struct member *member;
    struct principal who;
    bool open, has_who, slow_rate;
    uint64_t told;
    size_t last_size; /* of the text sent last */
    char log[16384];  /* one line per frame: the text, "event C 5 {body}", "close 4401" */
};
static struct conn conns_[FAKE_CONNS];

static inline struct conn *fake_conn_open(void *app)
{
    for (size_t i = 0; i < FAKE_CONNS; i++) {
        if (conns_[i].open)
            continue;
        conns_[i] = (struct conn){.app = app, .open = true};
        return &conns_[i];
    }
    abort();
}

static inline void fake_conn_gone(struct conn *conn)
{
    principal_clear(&conn->who);
    member_free(&conn->member);
    conn->open = false;
}

PRINTF_LIKE(2, 3) static inline void fake_line(struct conn *conn, const char *fmt, ...)
{
    size_t n = strlen(conn->log);
    va_list list;
    va_start(list, fmt);
    vsnprintf(conn->log + n, sizeof conn->log - n, fmt, list);
    va_end(list);
}

void conn_close(struct conn *conn, unsigned code, const char *reason)
{
    (void)reason;
    fake_line(conn, "close %u\n", code);
}
static void fake_event(void *to, struct event *event)
{
    fake_line(to, "event %c %llu %.*s\n", event->type->code, (unsigned long long)event->seq, (int)event->size,
              event->body);
}
static void fake_skip(void *to, uint64_t seq)
{
    ((struct conn *)to)->told = seq;
}
static bool fake_slow(const void *to)
{
    (void)to;
    return false;
}
static void fake_lost(void *to, const char *reason)
{
    conn_close(to, 1012, reason);
}
static const struct member_ops fake_member_ops = {fake_event, fake_skip, fake_slow, fake_lost};

void *conn_app(const struct conn *conn)
{
    return conn->app;
}
const struct principal *conn_who(const struct conn *conn)
{
    return conn->has_who ? &conn->who : NULL;
}
bool conn_set_who(struct conn *conn, struct principal *who)
{
    if (strcmp(who->user_id, "crowd") == 0)
        return false;
    conn->who = *who;
    conn->has_who = true;
    if (conn->member == NULL)
        conn->member = member_new(&fake_member_ops, conn);
    return true;
}
void conn_refresh_who(struct conn *conn, struct principal *who)
{
    principal_clear(&conn->who);
    conn->who = *who;
}
void conn_set_user(struct conn *conn, void *user)
{
    conn->user = user;
}
void *conn_user(const struct conn *conn)
{
    return conn->user;
}
struct member *conn_member(const struct conn *conn)
{
    return conn ? conn->member : NULL;
}
void conn_send(struct conn *conn, struct span text)
{
    conn->last_size = text.n;
    fake_line(conn, "%.*s\n", SPAN_ARG(text));
}
uint64_t conn_given_seq(const struct conn *conn)
{
    return conn->told;
}
void conn_send_droppable(struct conn *conn, struct span text)
{
    conn_send(conn, text);
}
bool conn_rate_ok(const struct conn *conn)
{
    return !conn->slow_rate;
}
const char *conn_address(const struct conn *conn)
{
    (void)conn;
    return "192.0.2.7";
}
