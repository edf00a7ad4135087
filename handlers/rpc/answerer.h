/* SPDX-License-Identifier: MIT */
/* The reader of a request's answers: a socket, a batch that collects them, an HTTP request, a test. A
 * request knows nothing else about where it came from. Reference-counted: lives until the last request has
 * released it. Loop thread only. */
#pragma once

#include "hub/auth/principal.h"
#include "hub/base/list.h"
#include "hub/base/load.h"
#include "hub/owners/owners.h"

struct answerer;
struct app;
struct request_error;
struct watch; /* methods/admin.c: filter of a client with admin.watch */

struct answerer_ops {
    /* Delivers one answer: `error` or, if that is NULL, `result` (JSON text). `tag` is what the envelope
     * gave the request. */
    void (*answer)(struct answerer *to, struct span tag, const struct request_error *error,
                   struct span result);
    /* Sends a whole message to answerer.sink; `droppable`: may be dropped while the reader is slow. NULL:
     * it reads only answers. */
    void (*send)(void *sink, struct span text, bool droppable);
    /* Takes events that must follow an answer not written yet; NULL: answers are written at once. `read`:
     * the answer itself tells of them. */
    void (*follow)(struct answerer *to, const struct owner_news *news, bool read);
    /* Decides on each message while `entering`: true to handle it now; else it was kept or refused. NULL:
     * never entering. */
    bool (*admit)(struct answerer *from, struct span message);
    /* Called when the last reference is released. */
    void (*free)(struct answerer *to);
};

struct client { /* what methods keep for a reader who stays connected; see client_hooks */
    struct answerer *answerer;
    struct list streams;  /* open audio streams */
    uint32_t last_stream; /* the last number given */
    struct watch *watch;
    struct list watching; /* in app.watchers while there is a watch */
};

struct answerer {
    const struct answerer_ops *ops;
    struct app *app;
    struct answerer *collects_for; /* of a batch: its final reader, who also tells who asks; else NULL */
    const struct principal *who;   /* NULL: not authenticated */
    struct member *member;         /* gets the owner's events and these answers; NULL: nobody does */
    struct client *client;         /* NULL: the reader does not stay */
    void *sink;                    /* argument of ops->send */
    struct load *load;             /* counts its requests (a reference); NULL: nobody does */
    const uint64_t *given; /* last logged event up to which all were delivered; NULL: it gets no events */
    unsigned refs;
    bool entering; /* still authenticating: ask ops->admit first */
    bool gone;     /* nobody reads any more: answers are dropped */
};

/* What the methods do when a lasting client sends a frame or leaves; set by the layer above
 * (app.client_hooks). */
struct client_hooks {
    /* A binary message of an authenticated client; `too_fast`: beyond its rate. */
    void (*binary)(struct client *client, struct span frame, bool too_fast);
    void (*leave)(struct client *client);
};

static inline void client_init(struct client *client, struct answerer *answerer)
{
    *client = (struct client){.answerer = answerer};
    list_init(&client->streams);
    list_init(&client->watching);
}

void answerer_unref(struct answerer *answerer);
/* Marks that nobody reads any more, and releases its maker's reference. */
void answerer_gone(struct answerer *answerer);
