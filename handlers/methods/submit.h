/* SPDX-License-Identifier: MIT */
/* What task.submit and audio.start share: the answer to a submission. Loop thread. */
#pragma once

#include "handlers/rpc/request.h"
#include "tasks/manager/manager.h"

/* Answers a refused submission; false if it was accepted (or is a duplicate). */
bool submit_refused(struct request *request, const struct task_reply *reply);
/* No answer will tell of it: events of the id that was made for it are held no more. */
void submit_release(const struct request *request, const struct task_reply *reply);
/* Appends '{"task_id":…,"status":…,"seq":…' of one that was not refused. */
void submit_write(struct buf *to, const struct request *request, const struct task_reply *reply);
/* Answers an accepted one with `result`; its events follow. */
void submit_accepted(struct request *request, const struct task_reply *reply, struct span result);
/* Runs a request that needs SQL (tasks/store/unlisted.h) with its params as they came: it is answered with
 * the result or why there is none. */
void submit_internal(struct request *request, const struct task_type *type);
/* Decodes an idempotency key (absent: SPAN_NONE); false and answered if it is not printable ASCII. */
#define SUBMIT_KEY_SIZE 129
bool submit_take_key(struct request *request, struct span value, char text[static SUBMIT_KEY_SIZE],
                     struct span *ret_key) MUSTCHECK;
/* An integer of which a shape has checked that it is not negative; the other one if it is absent. */
uint64_t number_or(struct span value, uint64_t otherwise);
