/* SPDX-License-Identifier: MIT */
/* An answerer that records what it gets, one line per message: the text, or "event C 5 <task id>". For tests
 * of requests without a socket. Include it once. */
#pragma once

#include "handlers/rpc/app.h"
#include "handlers/rpc/rpc.h"

#include <stdio.h>

/* ---- stand-in: who reads what a socket would send ---- */

struct reader {
    struct answerer answerer;
    struct client client;
    struct principal who;
    struct member *member;
    struct buf log;
    uint64_t given;
};

static inline struct reader *reader_of(struct answerer *answerer)
{
    return container_of(answerer, struct reader, answerer);
}

static void reader_send(void *sink, struct span text, bool droppable)
{
    struct buf *log = sink;
    (void)droppable;
    buf_append_span(log, text);
    buf_append_char(log, '\n');
}

static void reader_free(struct answerer *answerer)
{
    buf_free(&reader_of(answerer)->log);
    free(reader_of(answerer)->who.user_id);
    free(reader_of(answerer));
}

static void reader_event(void *to, struct event *event)
{
    struct reader *reader = to;
    reader->given = event->seq ? event->seq : reader->given;
    buf_printf(&reader->log, "event %c %llu %s\n", event->type->code, (unsigned long long)event->seq,
               event->task_id);
}

static void reader_replied(void *to, uint64_t seq)
{
    ((struct reader *)to)->given = seq;
}

static bool reader_slow(const void *to)
{
    (void)to;
    return false;
}

static void reader_lost(void *to, const char *reason)
{
    buf_printf(&((struct reader *)to)->log, "lost %s\n", reason);
}

/* `user` NULL: not authenticated. */
static inline struct reader *reader_new(struct app *app, const char *user, unsigned roles)
{
    static const struct answerer_ops ops = {.answer = rpc_answer, .send = reader_send, .free = reader_free};
    static const struct member_ops member_ops = {reader_event, reader_replied, reader_slow, reader_lost};
    struct reader *reader = xcalloc(1, sizeof *reader);
    reader->answerer = (struct answerer){.ops = &ops,
                                         .app = app,
                                         .client = &reader->client,
                                         .sink = &reader->log,
                                         .given = &reader->given,
                                         .refs = 1};
    client_init(&reader->client, &reader->answerer);
    if (user == NULL)
        return reader;
    reader->who.user_id = xstrdup(user);
    reader->who.roles = roles;
    reader->member = member_new(&member_ops, reader);
    reader->answerer.who = &reader->who;
    reader->answerer.member = reader->member;
    return reader;
}

/* ---- what it does ---- */

/* Closes it; its requests may still be answered. */
static inline void reader_gone(struct reader *reader)
{
    if (reader->answerer.app->client_hooks.leave)
        reader->answerer.app->client_hooks.leave(&reader->client);
    if (reader->member)
        member_free(&reader->member);
    answerer_gone(&reader->answerer);
}

static inline void says(struct reader *reader, const char *text)
{
    rpc_message(&reader->answerer, span_of(text), false);
}

/* What was recorded since the last call. */
static inline const char *heard(struct reader *reader)
{
    static char text[1 << 21];
    snprintf(text, sizeof text, "%.*s", SPAN_ARG(buf_span(&reader->log)));
    buf_clear(&reader->log);
    return text;
}

#define CALL(id, method, params)                                                                             \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\",\"params\":" params "}"
#define RESULT(id, result) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":" result "}"
