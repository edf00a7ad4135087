/* What the handlers remember of one open connection. Loop thread; freed when the connection closes. */
#pragma once

#include "handlers/rpc/app.h"
#include "handlers/rpc/request.h"

#define SESSION_ID_SIZE 17

struct watch;  /* admin.c: what a connection with admin.watch wants to see */
struct verify; /* auth_turns.h */

struct session {
    struct app *app;
    struct conn *conn;
    bool joining;             /* auth is under way, or done */
    bool asked;               /* there was an auth request: no join is implied any more */
    struct request *entering; /* auth that is under way; one that nobody sent where a join is implied */
    unsigned verifying;       /* tokens that wait for their turn */
    struct buf held;          /* messages that wait for either, each behind its size */
    unsigned held_count;
    bool replaying;         /* they are handled now */
    struct verify *upgrade; /* auth.c: the token that came with the upgrade, while it waits */
    struct join *join;      /* auth.c: a request that waits for owners_join() */
    unsigned failures;      /* of auth.refresh */
    struct watch *watch;
    struct list watching; /* in the list of all watchers */
    struct list streams;  /* open audio streams of this connection */
    uint32_t last_stream; /* number given last */
    char id[SESSION_ID_SIZE];
};

static inline struct session *session_of(const struct conn *conn)
{
    return conn_user(conn);
}

/* ---- what the families of handlers do when connections come and go ---- */
/* A token came with the upgrade (auth.c). */
void auth_open(struct session *session, struct span token);
void auth_leave(struct session *session);
/* Whether a message that is no auth was kept, or refused for want of room: it waits for the token, or until
 * the connection hears its owner's events. */
bool auth_keeps(struct session *session, struct span message);
/* What was kept is handled now. `imply`: first a join, where the token of the upgrade has become known and
 * nobody asked for one; not where one has just failed. */
void auth_replay(struct session *session, bool imply);
void auth_turns_start(struct app *app);
void auth_turns_stop(struct app *app);
/* (admin.c) */
void admin_unwatch(struct session *session);
/* (audio.c) A binary frame; a connection that closes: its streams wait to be resumed; Redis answers. */
void audio_frame(struct session *session, struct span frame);
void audio_leave(struct session *session);
/* A task has ended or is about to: if it reads a stream of this hub, that takes no more. */
void audio_ended(struct app *app, const char *id);
void audio_redis_up(struct app *app);
void audio_start(struct app *app);
void audio_stop(struct app *app);

/* ---- the methods ---- */
typedef void handler_fn(struct request *request, const struct span *values);
handler_fn run_auth, run_auth_refresh;
handler_fn run_task_submit, run_task_get, run_task_list, run_task_cancel, run_task_retry, run_task_why;
handler_fn run_audio_start, run_audio_end, run_audio_abort, run_audio_resume;
handler_fn run_notification_list, run_notification_read;
handler_fn run_impression_record, run_rating_submit;
handler_fn run_admin_stats, run_admin_tasks, run_admin_workers, run_admin_watch, run_admin_unwatch;
handler_fn run_ping;

/* ---- shared by handlers (reply.c) ---- */
/* The error that a code of the queue means for a client; QUEUE_OK is none of them. */
void fail_queue(struct request *request, enum queue_code code);
/* For parameters that a shape cannot check. */
void fail_param(struct request *request, const char *field, const char *message);
/* Answers with the JSON of a queue's answer, or its error: a queue_answer_fn, ctx is the request. */
void reply_answer(void *ctx, const struct queue_answer *answer);
/* The same for a manager_run_internal(). */
void reply_internal(void *ctx, bool failed, const char *error_code, struct span result);
/* Answers {"ok":true} or the error: a queue_done_fn. */
void reply_done(void *ctx, enum queue_code code);
/* Logs what people with a role do beyond their own tasks. */
void log_admin_act(const struct request *request, const char *task_id);
/* Decodes a task id; false and answered if it is malformed. */
bool take_task_id(struct request *request, struct span value, char id[static ID_SIZE]) MUSTCHECK;
