/* SPDX-License-Identifier: MIT */
/* Answers and refusals that several families of handlers give, and parameters that several methods take. An
 * answer is the last thing done with a request: it is freed by then. Loop thread; no state. */
#pragma once

#include "handlers/rpc/request.h"
#include "tasks/manager/manager.h"
#include "tasks/queue/queue.h"

/* The error that a code of the queue means for a client; QUEUE_OK is none of them. */
void fail_queue(struct request *request, enum queue_code code);
/* A parameter is not as its shape, or as what only its method can check: "must be …". */
void fail_field(struct request *request, const struct json_field_error *fault);
void fail_param(struct request *request, const char *field, const char *expected);
/* Answers with the JSON of a queue's answer, or its error: a queue_answer_fn, ctx is the request. */
void reply_answer(void *ctx, const struct queue_answer *answer);
/* Answers {"ok":true} or the error: a queue_done_fn, ctx is the request. */
void reply_done(void *ctx, enum queue_code code);
/* Logs what people with a role do beyond their own tasks; `task_id` is NULL where it is about no single one.
 */
void log_admin_act(const struct request *request, const char *task_id);

/* ---- submissions ---- */
/* Answers a submission: a task_reply_fn, ctx is the request. */
void reply_submitted(void *ctx, const struct task_reply *reply);
/* The parts of it. Answers a refused one; false if it was accepted (or is a duplicate). */
bool reply_refused(struct request *request, const struct task_reply *reply);
/* Appends '{"task_id":…,"status":…,"seq":…' of one that was not refused. */
void reply_write(struct buf *to, const struct request *request, const struct task_reply *reply);
/* Answers an accepted one with `result`; its events follow. */
void reply_accepted(struct request *request, const struct task_reply *reply, struct span result);
/* No answer will tell of it: events of the id that was made for it are held no more. */
void reply_release(const struct request *request, const struct task_reply *reply);

/* ---- parameters ---- */
/* An integer of which a shape has checked that it is not negative; the other one if it is absent. */
uint64_t number_or(struct span value, uint64_t otherwise);
/* Decodes a string whose shape says that it fits; NULL for an absent one. */
const char *text_of(struct span value, char *text, size_t size);
/* Decodes a task id; false and answered if it is malformed. */
bool take_task_id(struct request *request, struct span value, char id[static ID_SIZE]) MUSTCHECK;
/* Decodes an idempotency key (absent: SPAN_NONE), which stands in `text`; false and answered if it is not
 * printable ASCII. */
#define KEY_SIZE 129
bool take_key(struct request *request, struct span value, char text[static KEY_SIZE],
              struct span *ret_key) MUSTCHECK;
