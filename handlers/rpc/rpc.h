/* JSON-RPC 2.0 on a WebSocket message: takes it apart, calls the handler, frames answers. Loop thread. */
#pragma once

#include "handlers/rpc/request.h"

#define RPC_ID_MAX 130 /* raw bytes of an id: 128 and two quotes */

struct batch;

/* ---- rpc.c ---- */
/* One text message of an open connection. */
void rpc_message(struct conn *conn, struct span message);
/* Answers a message that was checked (json_check()) and is not handled: with the id of its request, or null.
 */
void rpc_refuse_message(struct conn *conn, struct span message, const struct request_error *error);

/* ---- dispatch.c ---- */
/* The row of a method; NULL if there is none. `name` is decoded. */
const struct handler *dispatch_find(struct span name);

/* ---- errors.c ---- */
/* Appends '{"code":…,"message":…,"data":{…}}'. */
void error_write(struct buf *to, const struct request_error *error);
/* Redis does not answer. */
extern const struct request_error error_unavailable;

/* ---- request.c ---- */
/* `id` raw; SPAN_NONE for a notification, which gets no answer. `batch` may be NULL. */
struct request *request_new(struct conn *conn, struct batch *batch, const struct handler *handler,
                            struct span id);
/* Sends an error that belongs to no request object: id raw, or "null". */
void rpc_refuse(struct conn *conn, struct batch *batch, struct span id, const struct request_error *error);
/* A batch collects answers until batch_end() was called and every request in it was answered. */
struct batch *batch_begin(struct conn *conn);
void batch_end(struct batch *batch);
