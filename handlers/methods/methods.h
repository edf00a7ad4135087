/* SPDX-License-Identifier: MIT */
/* The methods: what the composition root calls, and what methods.c knows of the families. Loop thread only.
 */
#pragma once

#include "handlers/rpc/app.h"

/* ---- for hub/serve.c ---- */
/* Once everything else in the app is set, before the first connection. */
void app_start(struct app *app);
/* After the last connection has closed. */
void app_stop(struct app *app);
/* Redis answers and the library is loaded, or it does not any more: tells everybody who waits for it. */
void app_redis(struct app *app, bool ready);
/* Functions of queue_hooks and queue_feed_hooks; `app` is the struct app, events are borrowed. */
/* An event of an owner: for who listens, and for what this hub does for the task. */
void app_event(void *app, const char *owner, struct event *event);
/* There is work for the threads of this hub. */
void app_bell(void *app, const char *queue);
/* A task that may run on a thread of this hub was cancelled. */
void app_cancel(void *app, const char *id, unsigned fence);
/* An event of any owner, for clients that watch. */
void app_admin_event(void *app, const char *owner, struct event *event);

/* ---- admin.c ---- */
/* The client watches no more; fine for one that does not. */
void admin_unwatch(struct client *client);

/* ---- audio.c, audio_stream.c ---- */
/* client_hooks.binary. */
void audio_frame(struct client *client, struct span frame, bool too_fast);
/* The client has gone: its streams wait to be resumed. */
void audio_leave(struct client *client);
/* A task has ended or is about to: if it reads a stream of this hub, that takes no more. */
void audio_ended(struct app *app, const char *id);
/* Redis answers again: bytes that wait are sent. */
void audio_redis_up(struct app *app);
/* Makes app->audio; audio_stop() frees it and drops the requests that wait for a stream. */
void audio_start(struct app *app);
void audio_stop(struct app *app);

/* ---- rows of the table ---- */
typedef void handler_fn(struct request *request, const struct span *values);
handler_fn run_task_submit, run_task_get, run_task_list, run_task_cancel, run_task_retry, run_task_why;
handler_fn run_audio_start, run_audio_end, run_audio_abort, run_audio_resume;
handler_fn run_notification_list, run_notification_read;
handler_fn run_impression_record, run_rating_submit;
handler_fn run_admin_stats, run_admin_tasks, run_admin_workers, run_admin_revoke;
handler_fn run_admin_watch, run_admin_unwatch;
handler_fn run_ping;
