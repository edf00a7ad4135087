/* SPDX-License-Identifier: MIT */
/* Who reads the answers of a request: a socket, a batch that collects them, an HTTP request, a test. A
 * request knows nothing else of what brought it. Counted: it lives until the last request has let go of it.
 * Loop thread only. */
#pragma once

#include "hub/auth/principal.h"
#include "hub/base/list.h"
#include "hub/base/load.h"
#include "hub/owners/owners.h"

struct answerer;
struct app;
struct request_error;
struct watch; /* methods/admin.c: what a client with admin.watch wants to see */

struct answerer_ops {
    /* One answer: `error` or, where that is NULL, `result` (JSON text). `tag` is what the envelope gave the
     * request. */
    void (*answer)(struct answerer *to, struct span tag, const struct request_error *error,
                   struct span result);
    /* A whole message to answerer.sink; `droppable`: it may be left out while the reader is slow. NULL: only
     * answers are read. */
    void (*send)(void *sink, struct span text, bool droppable);
    /* Takes what must follow an answer that is not written yet; NULL: answers are written at once. `read`:
     * the answer tells of it. */
    void (*follow)(struct answerer *to, const struct owner_news *news, bool read);
    /* Decides on each message while `entering`: true if it is handled now, else it is kept, or refused. NULL:
     * it is never entering. */
    bool (*admit)(struct answerer *from, struct span message);
    /* The last request has let go. */
    void (*free)(struct answerer *to);
};

struct client { /* what methods keep for somebody who stays connected; see client_hooks */
    struct answerer *answerer;
    struct list streams;  /* open audio streams */
    uint32_t last_stream; /* number given last */
    struct watch *watch;
    struct list watching; /* in app.watchers while there is a watch */
};

struct answerer {
    const struct answerer_ops *ops;
    struct app *app;
    struct answerer *collects_for; /* of a batch: who reads it in the end, and says who asks; else NULL */
    const struct principal *who;   /* NULL: not authenticated */
    struct member *member;         /* gets the owner's events, and these answers; NULL: nobody does */
    struct client *client;         /* NULL: it does not stay */
    void *sink;                    /* takes what is sent */
    struct load *load;             /* counts its requests (a reference); NULL: nobody does */
    const uint64_t *given;         /* up to which logged event it was given all; NULL: it is given none */
    unsigned refs;
    bool entering; /* its way in is not over: ops->admit is asked first */
    bool gone;     /* nobody reads any more */
};

/* What the methods do when a client that stays speaks or leaves; set by the layer above (app.client_hooks).
 */
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
/* Nobody reads any more. Gives back the reference of who made it. */
void answerer_gone(struct answerer *answerer);
