/* SPDX-License-Identifier: MIT */
/* Answers and refusals that several families of handlers give. Loop thread; no state. */
#pragma once

#include "handlers/rpc/request.h"
#include "tasks/queue/queue.h"

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
/* Decodes a string whose shape says that it fits; NULL for an absent one. */
const char *text_of(struct span value, char *text, size_t size);
/* Decodes a task id; false and answered if it is malformed. */
bool take_task_id(struct request *request, struct span value, char id[static ID_SIZE]) MUSTCHECK;
