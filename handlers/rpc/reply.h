/* SPDX-License-Identifier: MIT */
/* Answers and refusals shared by several families of handlers, and parameters shared by several methods.
 * Answer a request last: that frees it. Loop thread; no state. */
#pragma once

#include "handlers/rpc/request.h"
#include "tasks/manager/manager.h"
#include "tasks/queue/queue.h"

/* Fails the request with the error that a code of the queue means for a client; not for QUEUE_OK. */
void fail_queue(struct request *request, enum queue_code code);
/* Fails the request because a parameter does not match its shape or its method's own checks: "must be …". */
void fail_field(struct request *request, const struct json_field_error *fault);
void fail_param(struct request *request, const char *field, const char *expected);
/* Answers with the JSON of a queue's answer, or its error: a queue_answer_fn, ctx is the request. */
void reply_answer(void *ctx, const struct queue_answer *answer);
/* Answers {"ok":true} or the error: a queue_done_fn, ctx is the request. */
void reply_done(void *ctx, enum queue_code code);
/* Logs what people with a role do beyond their own tasks; `task_id` is NULL if it concerns no single task. */
void log_admin_act(const struct request *request, const char *task_id);

/* ---- submissions ---- */
/* Answers a submission: a task_reply_fn, ctx is the request. */
void reply_submitted(void *ctx, const struct task_reply *reply);
/* A part of reply_submitted(): answers a refused submission; false if it was accepted (or is a duplicate). */
bool reply_refused(struct request *request, const struct task_reply *reply);
/* Appends '{"task_id":…,"status":…,"seq":…' of a submission that was not refused. */
void reply_write(struct buf *to, const struct request *request, const struct task_reply *reply);
/* Answers an accepted submission with `result`; its events follow. */
void reply_accepted(struct request *request, const struct task_reply *reply, struct span result);
/* Stops holding back events of the id that was made for a submission: no answer will tell of it. */
void reply_release(const struct request *request, const struct task_reply *reply);

/* ---- parameters ---- */
/* An integer that its shape has checked to be non-negative; `otherwise` if absent. */
uint64_t number_or(struct span value, uint64_t otherwise);
/* Decodes a string that, by its shape, fits; NULL if absent. */
const char *text_of(struct span value, char *text, size_t size);
/* Decodes a task id; false and answered if it is malformed. */
bool take_task_id(struct request *request, struct span value, char id[static ID_SIZE]) MUSTCHECK;
/* Decodes an idempotency key into `text` (absent: SPAN_NONE); false and answered if it is not printable
 * ASCII. */
#define KEY_SIZE 129
bool take_key(struct request *request, struct span value, char text[static KEY_SIZE],
              struct span *ret_key) MUSTCHECK;
