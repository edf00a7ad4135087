/* SPDX-License-Identifier: MIT */
/* The methods: what the composition root calls, and what methods.c knows of the families. Loop thread only.
 */
#pragma once

#include "handlers/rpc/app.h"

/* ---- for hub/serve.c ---- */
/* Call once everything else in the app is set, before the first connection. */
void app_start(struct app *app);
/* Call after the last connection has closed. */
void app_stop(struct app *app);
/* Tells everybody concerned that Redis became ready (it answers and the library is loaded) or stopped
 * being so. */
void app_redis(struct app *app, bool ready);
/* Functions of queue_hooks and queue_feed_hooks; `app` is the struct app, events are borrowed. */
/* Delivers an event of an owner to its listeners, and to what this hub does for the task. */
void app_event(void *app, const char *owner, struct event *event);
/* Announces work for the threads of this hub. */
void app_bell(void *app, const char *queue);
/* Passes on the cancel of a task that may run on a thread of this hub. */
void app_cancel(void *app, const char *id, unsigned fence);
/* Delivers an event of any owner to the clients that watch. */
void app_epoch(void *app);
void app_admin_event(void *app, const char *owner, struct event *event);

/* ---- admin.c ---- */
/* Stops the client's watching; fine if it does not watch. */
void admin_unwatch(struct client *client);

/* ---- audio.c, audio_stream.c ---- */
/* client_hooks.binary. */
void audio_frame(struct client *client, struct span frame, bool too_fast);
/* Call when the client has gone: its streams then wait to be resumed. */
void audio_leave(struct client *client);
/* Call when a task has ended or is about to: a stream of this hub that it reads takes no more bytes. */
void audio_ended(struct app *app, const char *id);
/* Call when Redis answers again: sends the waiting bytes. */
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
