/* SPDX-License-Identifier: MIT */
/* Audio streams of this hub: bytes from a connection into Redis, acknowledgements back, time limits. Loop
 * thread only; used by audio.c. */
#pragma once

#include "handlers/rpc/app.h"
#include "hub/base/buf.h"
#include "hub/base/quota.h"
#include "hub/base/table.h"

struct audio { /* all streams of this hub */
    struct app *app;
    struct table by_task;
    struct quota open;      /* streams of each user */
    struct list all, dirty; /* dirty: something to send to Redis or to the client at the end of the turn */
    uv_timer_t *timer;
    unsigned count;
    uint64_t kept_ms;   /* when keep_streams() ran last */
    uint64_t ticked_ms; /* when the timer last ran or was started */
};

enum stream_state {
    STREAM_OPENING,   /* its task is being submitted or looked up */
    STREAM_READY,     /* it has its task; nothing is under way */
    STREAM_APPENDING, /* bytes are on their way to Redis */
    STREAM_ENDING,    /* its end is on its way to Redis */
    STREAM_OVER,      /* closed while one of these was under way: freed when that is answered */
};

struct stream {
    struct list node;      /* in audio.all */
    struct list of_client; /* in client.streams */
    struct list dirty;
    struct table_node by_task; /* keyed by id; from READY to ENDING */
    enum stream_state state;
    struct charge charge; /* against audio.open, until closed */
    struct audio *audio;
    struct client *client; /* NULL before it is answered and while its connection is lost */
    uint32_t number;       /* on that connection; 0 = none yet */
    char id[ID_SIZE];
    char owner[OWNER_SIZE];
    uint64_t received;   /* bytes stored in Redis */
    uint64_t acked;      /* bytes acknowledged to the client */
    struct buf sent;     /* bytes after `received`: on their way, or to be resent */
    struct buf pending;  /* bytes after those in `sent` */
    struct request *end; /* audio.end: answered when Redis has everything */
    uint64_t active_ms;  /* last sign of life of the client, or when its connection was lost */
    uint64_t last_ms;    /* when it reaches its maximum duration */
};

/* Makes a stream of this owner without a task yet; NULL if too many are open, not counting the one of the
 * task `resumed` (may be NULL), which it will replace. */
struct stream *stream_new(struct audio *audio, const char *owner, const char *resumed);
/* Gives the stream its task, of which Redis has `received` bytes, and its client (NULL: it has left).
 * Replaces an older stream of the same task. */
void stream_open(struct stream *stream, const char *id, struct client *client, uint64_t received);
/* Closes the stream on this hub: nothing more is sent. Freed at once, or when the call under way is
 * answered. */
void stream_close(struct stream *stream);
/* Fails the stream's task and closes it. */
void stream_fail(struct stream *stream, const char *code, const char *text);
/* Takes bytes from the client. */
void stream_put(struct stream *stream, struct span bytes);
/* Ends the stream; answers `request` when Redis has everything that came and the end is marked. */
void stream_end(struct stream *stream, struct request *request);
/* The number of bytes received from the client, and how many may follow those that Redis has. */
uint64_t stream_total(const struct stream *stream);
uint64_t stream_window(const struct stream *stream);
/* Returns the client's stream with this number; NULL if there is none that takes bytes. */
struct stream *stream_find(const struct client *client, int64_t number);
