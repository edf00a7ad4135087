/* SPDX-License-Identifier: MIT */
/* What a running task may do: the same for light tasks (a pool thread of the hub) and heavy ones (a slot
 * process), since runners are hidden behind task_ctx_ops. The owner's id is part of the context, so that
 * no task can forget or forge it. On the thread that runs the task. */
#pragma once

#include "hub/base/mem.h"
#include "hub/base/span.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct db;
struct options;
struct task_ctx;
struct task_type;

struct task_error {   /* why a task failed */
    const char *code; /* a stable word */
    bool retry;       /* another attempt may succeed */
};

/* ---- for task authors ---- */

/* The task's id and its owner; valid as long as the context. */
const char *task_id(const struct task_ctx *ctx);
const char *task_owner(const struct task_ctx *ctx);
unsigned task_attempt(const struct task_ctx *ctx); /* from 1 */
/* Names the task's effect on the outside: the same in all its attempts and in every submission with its
 * idempotency key; task.retry makes a new one. */
const char *task_effect_id(const struct task_ctx *ctx);
/* The checked arguments as a tree, borrowed from the context; never NULL. */
json_t *task_args(struct task_ctx *ctx);
/* Returns a string argument (borrowed), NULL if it is absent; an integer argument, or `otherwise`. */
const char *task_arg_text(struct task_ctx *ctx, const char *name);
int64_t task_arg_int(struct task_ctx *ctx, const char *name, int64_t otherwise);
const struct options *task_options(const struct task_ctx *ctx);
/* Returns the domain database of this thread or process, opened on first use. NULL if it cannot be opened:
 * the task has then failed ("database", to be retried) and should return. */
struct db *task_db(struct task_ctx *ctx);

/* Reports progress: 0 to 100 (it never falls within an attempt: lower values count as the last one), a
 * stage word (at most 32 bytes, NULL = unchanged) and a message (at most 512 bytes, NULL = unchanged);
 * longer texts are cut. Cheap: a report too soon after the last one is sent by a later call of any of
 * these functions. */
void task_progress(struct task_ctx *ctx, int percent, const char *stage, const char *message);
/* Sets the task's meta object (at most 4 KiB as text, else dropped with a log line). Takes `meta`. */
void task_meta(struct task_ctx *ctx, json_t *meta);
/* Reports a partial result: its meta object, for speech as in docs/speech.md. A final piece is logged and
 * kept. Takes `meta`. */
void task_partial(struct task_ctx *ctx, json_t *meta, bool final);
/* Writes a log line for the task's owner: at most 512 bytes, and 100 lines per attempt; the rest is dropped.
 */
void task_log(struct task_ctx *ctx, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* True once the task should stop: cancelled, or past its soft time limit. Call at least every 500 ms of
 * work; then return soon, with or without task_fail(). */
bool task_cancelled(struct task_ctx *ctx);
/* Sleeps; wakes early, and returns false, when the task should stop. */
bool task_sleep_ms(struct task_ctx *ctx, unsigned ms);

/* Reads from the task's audio stream; waits at most timeout_ms. Returns the bytes read, 0 at the end of the
 * stream, -1 and errno: EAGAIN (nothing came), ECANCELED (stop), ENOTSUP (the task has no stream). */
ssize_t task_audio_read(struct task_ctx *ctx, void *to, size_t size, int timeout_ms);
/* Calls a service of the process that is connected to Redis (tasks/queue/services.h), by name, with a JSON
 * object (taken; NULL = {}). Returns the answer (json_decref()); NULL if it was refused or not answered:
 * the task should then fail as "unavailable", to be retried. Blocks up to 10 s. */
json_t *task_call(struct task_ctx *ctx, const char *service, json_t *args);

/* Ends the task with its result, an object (taken; NULL = {}) of at most limits.result_bytes as text.
 * Calls after an end have no effect. */
void task_finish(struct task_ctx *ctx, json_t *result);
/* Ends the task as failed; the text, for its owner, is cut after 512 bytes. */
void task_fail(struct task_ctx *ctx, struct task_error error, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with code "database" and the database's own message, to be retried. */
void task_fail_db(struct task_ctx *ctx, struct db *db);

/* ---- for the runners: tasks/runner/threads/reports.c, tasks/runner/slots/child.c ---- */
struct task_ctx_ops {
    void (*progress)(struct task_ctx *ctx); /* percent, stage, message changed */
    void (*meta)(struct task_ctx *ctx, struct span json);
    void (*partial)(struct task_ctx *ctx, struct span json, bool final);
    void (*log)(struct task_ctx *ctx, struct span text);
    bool (*cancelled)(struct task_ctx *ctx);
    bool (*sleep)(struct task_ctx *ctx, unsigned ms);
    ssize_t (*audio_read)(struct task_ctx *ctx, void *to, size_t size,
                          int timeout_ms); /* NULL = no streams */
    /* The answer as text (free()), NULL = refused or late. */
    char *(*call)(struct task_ctx *ctx, const char *service, struct span args);
    struct db *(*db)(struct task_ctx *ctx);
};
struct task_ctx {
    const struct task_ctx_ops *ops;
    const struct options *options;
    const char *id, *effect_id, *owner, *type; /* borrowed from the runner */
    unsigned attempt;
    struct span args_text; /* '{}' if none were given */
    json_t *args;          /* made on first use */
    int percent;
    char stage[33];
    char message[513];
    unsigned log_lines;
    bool ended;
    bool failed, retry;
    char error_code[33];
    char *result; /* JSON text (free()), NULL = {} */
    char *error;  /* English text (free()) */
};
/* Prepares a context; the runner sets id, owner, attempt and args_text, borrowed while it runs. */
void task_ctx_init(struct task_ctx *ctx, const struct task_ctx_ops *ops, const struct options *options,
                   const struct task_type *type);
/* Call after the type's run(): a task without an end fails, as "cancelled" if it was told to stop, else as
 * "internal". */
void task_ctx_returned(struct task_ctx *ctx);
/* Frees what the context made; keeps what it borrowed. */
void task_ctx_clear(struct task_ctx *ctx);
