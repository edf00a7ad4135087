/* SPDX-License-Identifier: MIT */
/* JSON-RPC 2.0 on text messages from any transport: parses them, calls the handlers, writes answers. Loop
 * thread. */
#pragma once

#include "handlers/rpc/request.h"

/* ---- rpc.c ---- */
/* Takes a text message of a client, whose struct answerer is `from`: checks it once and handles it, unless
 * the answerer does not admit it. Answers one that is malformed or came too fast. A conn_ops.on_text. */
void rpc_message(void *from, struct span message, bool too_fast);
/* Whether a checked message calls this method; a batch calls none. */
bool rpc_calls(struct span message, const char *method);
/* Handles a checked message: every request in it is answered, now or later. */
void rpc_handle(struct answerer *to, struct span message);
/* Refuses a checked message: answers with the id of its request, or null. */
void rpc_refuse(struct answerer *to, struct span message, const struct request_error *error);
/* Appends one answer: `error` or, where that is NULL, `result`. */
void rpc_write_answer(struct buf *to, struct span id, const struct request_error *error, struct span result);
/* answerer_ops.answer of readers that speak JSON-RPC: sends the answer as a message. */
void rpc_answer(struct answerer *to, struct span id, const struct request_error *error, struct span result);

/* ---- batch.c ---- */
/* Makes an answerer that collects answers for `reader`; they are sent when the last request has released
 * it. */
struct answerer *batch_new(struct answerer *reader);

/* ---- errors.c ---- */
/* Appends '{"code":…,"message":…,"data":{…}}'. */
void error_write(struct buf *to, const struct request_error *error);
/* The error for when Redis does not answer. */
#define ERROR_UNAVAILABLE ((struct request_error){.code = RPC_BUSY, .word = "unavailable", .retry_ms = 1000})
