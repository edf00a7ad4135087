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
    uint64_t ticked_ms; /* when the timer last ran, or was started */
};

enum stream_state {
    STREAM_OPENING,   /* its task is being submitted or looked for */
    STREAM_READY,     /* it has its task; nothing is under way */
    STREAM_APPENDING, /* bytes are on their way into Redis */
    STREAM_ENDING,    /* and now its end */
    STREAM_OVER,      /* closed while one of these was under way: freed when that is answered */
};

struct stream {
    struct list node;      /* in audio.all */
    struct list of_client; /* in client.streams */
    struct list dirty;
    struct table_node by_task; /* keyed by id; from READY to ENDING */
    enum stream_state state;
    struct charge charge; /* of audio.open, until it is closed */
    struct audio *audio;
    struct client *client; /* NULL while its connection is lost, or not answered yet */
    uint32_t number;       /* on that connection; 0 = not given yet */
    char id[ID_SIZE];
    char owner[OWNER_SIZE];
    uint64_t received;   /* bytes that stand in Redis */
    uint64_t acked;      /* of them the client knows */
    struct buf sent;     /* the bytes behind them: on their way, or to be sent again */
    struct buf pending;  /* and those behind these */
    struct request *end; /* audio.end: answered when everything stands */
    uint64_t active_ms;  /* last sign of life of the client, or when its connection was lost */
    uint64_t last_ms;    /* when it has lasted as long as it may */
};

/* A stream of this owner that has no task yet; NULL if there are too many open, not counting one of the task
 * `resumed` (may be NULL), which it will replace. */
struct stream *stream_new(struct audio *audio, const char *owner, const char *resumed);
/* It belongs to this task, of which `received` bytes stand, and to this client (NULL: it has left). An older
 * stream of the same task gives way. */
void stream_open(struct stream *stream, const char *id, struct client *client, uint64_t received);
/* It is over here: nothing more is sent. Freed at once or with its last call. */
void stream_close(struct stream *stream);
/* Fails its task and closes it. */
void stream_fail(struct stream *stream, const char *code, const char *text);
/* Bytes of the client. */
void stream_put(struct stream *stream, struct span bytes);
/* Answers `request` when everything that came stands in Redis and the end is marked. */
void stream_end(struct stream *stream, struct request *request);
/* Every byte that came, and how many may follow what stands. */
uint64_t stream_total(const struct stream *stream);
uint64_t stream_window(const struct stream *stream);
/* NULL: there is none of this number that takes bytes. */
struct stream *stream_find(const struct client *client, int64_t number);
