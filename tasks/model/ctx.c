/* SPDX-License-Identifier: MIT */
/* What a running task may do; see ctx.h. Keeps a task's progress and outcome while it runs; task_ctx_ops
 * decide what happens with them. On the thread that runs the task; never touches sockets or Redis. */
#include "tasks/model/ctx.h"

#include "hub/base/log.h"
#include "hub/config/options.h"
#include "hub/sql/db.h"
#include "tasks/model/task_type.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define META_MAX 4096     /* bytes of a meta object's text */
#define PARTIAL_MAX 16384 /* bytes of a partial result: the words of one utterance */
#define LOG_LINES_MAX 100 /* per attempt */
#define REPORT_FORMAT (JSON_COMPACT | JSON_REAL_PRECISION(15)) /* 0.1, not 0.10000000000000001 */

const char *task_id(const struct task_ctx *ctx)
{
    return ctx->id;
}

const char *task_owner(const struct task_ctx *ctx)
{
    return ctx->owner;
}

unsigned task_attempt(const struct task_ctx *ctx)
{
    return ctx->attempt;
}

const char *task_effect_id(const struct task_ctx *ctx)
{
    return ctx->effect_id;
}

const struct options *task_options(const struct task_ctx *ctx)
{
    return ctx->options;
}

struct db *task_db(struct task_ctx *ctx)
{
    struct db *db = ctx->ops->db(ctx);
    if (db == NULL)
        task_fail(ctx, (struct task_error){"database", true}, "the database cannot be opened");
    return db;
}

/* ---- arguments ---- */

static bool has_args(const struct task_ctx *ctx)
{
    return ctx->args_text.n > 2; /* more than "{}" */
}

json_t *task_args(struct task_ctx *ctx)
{
    if (ctx->args == NULL && has_args(ctx))
        ctx->args = json_loadb(ctx->args_text.p, ctx->args_text.n, JSON_REJECT_DUPLICATES, NULL);
    if (ctx->args == NULL)
        ctx->args = json_object();
    return ctx->args;
}

const char *task_arg_text(struct task_ctx *ctx, const char *name)
{
    return has_args(ctx) ? json_string_value(json_object_get(task_args(ctx), name)) : NULL;
}

int64_t task_arg_int(struct task_ctx *ctx, const char *name, int64_t otherwise)
{
    json_t *value = has_args(ctx) ? json_object_get(task_args(ctx), name) : NULL;
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

/* ---- reports ---- */

/* Copies at most size - 1 bytes of `text`, never a part of a UTF-8 sequence. */
static void copy_text(char *to, size_t size, const char *text)
{
    size_t n = strnlen(text, size);
    if (n == size)
        for (n = size - 1; n && ((unsigned char)text[n] & 0xc0) == 0x80;)
            n--;
    memcpy(to, text, n);
    to[n] = '\0';
}

static void __attribute__((format(printf, 2, 0)))
format_text(char to[static 513], const char *fmt, va_list list)
{
    char full[1024];
    vsnprintf(full, sizeof full, fmt, list);
    copy_text(to, 513, full);
}

void task_progress(struct task_ctx *ctx, int percent, const char *stage, const char *message)
{
    percent = percent > 100 ? 100 : percent;
    if (percent > ctx->percent)
        ctx->percent = percent;
    if (stage)
        copy_text(ctx->stage, sizeof ctx->stage, stage);
    if (message)
        copy_text(ctx->message, sizeof ctx->message, message);
    if (!ctx->ended)
        ctx->ops->progress(ctx);
}

/* The text of `value` (taken), NULL if it is not an object or longer than `max`. */
static char *object_text(struct task_ctx *ctx, json_t *value, size_t max, const char *what)
{
    char *text = json_is_object(value) ? json_dumps(value, REPORT_FORMAT) : NULL;
    json_decref(value);
    if (text && strlen(text) <= max)
        return text;
    log_warn("a task's report was dropped: no object, or too long", "what", what, "task_id", ctx->id, "task",
             ctx->type);
    free(text);
    return NULL;
}

void task_meta(struct task_ctx *ctx, json_t *meta)
{
    char *text = object_text(ctx, meta, META_MAX, "meta");
    if (text && !ctx->ended)
        ctx->ops->meta(ctx, span_of(text));
    free(text);
}

void task_partial(struct task_ctx *ctx, json_t *meta, bool final)
{
    char *text = object_text(ctx, meta, PARTIAL_MAX, "partial");
    if (text && !ctx->ended)
        ctx->ops->partial(ctx, span_of(text), final);
    free(text);
}

void task_log(struct task_ctx *ctx, const char *fmt, ...)
{
    char line[513];
    if (ctx->ended || ctx->log_lines >= LOG_LINES_MAX)
        return;
    ctx->log_lines++;
    va_list list;
    va_start(list, fmt);
    format_text(line, fmt, list);
    va_end(list);
    ctx->ops->log(ctx, span_of(line));
}

/* ---- waiting and asking ---- */

bool task_cancelled(struct task_ctx *ctx)
{
    return ctx->ops->cancelled(ctx);
}

bool task_sleep_ms(struct task_ctx *ctx, unsigned ms)
{
    return ctx->ops->sleep(ctx, ms);
}

ssize_t task_audio_read(struct task_ctx *ctx, void *to, size_t size, int timeout_ms)
{
    if (ctx->ops->audio_read)
        return ctx->ops->audio_read(ctx, to, size, timeout_ms);
    errno = ENOTSUP; /* tasks of this runner have no stream */
    return -1;
}

json_t *task_call(struct task_ctx *ctx, const char *service, json_t *args)
{
    char *text = args ? json_dumps(args, JSON_COMPACT) : NULL;
    json_decref(args);
    char *answer = ctx->ops->call(ctx, service, text ? span_of(text) : SPAN("{}"));
    json_t *tree = answer ? json_loads(answer, JSON_DECODE_ANY, NULL) : NULL;
    free(text);
    free(answer);
    return tree;
}

/* ---- the end ---- */

static void set_failure(struct task_ctx *ctx, struct task_error error, char *text)
{
    ctx->ended = ctx->failed = true;
    ctx->retry = error.retry;
    copy_text(ctx->error_code, sizeof ctx->error_code, error.code);
    free(ctx->error);
    ctx->error = text;
}

void task_finish(struct task_ctx *ctx, json_t *result)
{
    if (ctx->ended) {
        json_decref(result);
        return;
    }
    ctx->ended = true;
    if (result == NULL)
        return;
    ctx->result = json_is_object(result) ? json_dumps(result, REPORT_FORMAT) : NULL;
    json_decref(result);
    if (ctx->result == NULL) {
        set_failure(ctx, (struct task_error){"internal", false}, xstrdup("The result is not an object"));
    } else if (strlen(ctx->result) > (size_t)ctx->options->result_bytes) {
        free(ctx->result);
        ctx->result = NULL;
        set_failure(ctx, (struct task_error){"result_too_large", false}, xstrdup("The result is too large"));
    }
}

void task_fail(struct task_ctx *ctx, struct task_error error, const char *fmt, ...)
{
    char text[513];
    if (ctx->ended)
        return;
    va_list list;
    va_start(list, fmt);
    format_text(text, fmt, list);
    va_end(list);
    set_failure(ctx, error, xstrdup(text));
}

void task_fail_db(struct task_ctx *ctx, struct db *db)
{
    task_fail(ctx, (struct task_error){"database", true}, "%s", db_error(db));
}

void task_ctx_init(struct task_ctx *ctx, const struct task_ctx_ops *ops, const struct options *options,
                   const struct task_type *type)
{
    ctx->ops = ops;
    ctx->options = options;
    ctx->type = type->name;
    ctx->id = ctx->owner = NULL;
    ctx->attempt = 1;
    ctx->args_text = SPAN("{}");
    ctx->args = NULL;
    ctx->percent = 0;
    ctx->stage[0] = ctx->message[0] = ctx->error_code[0] = '\0';
    ctx->log_lines = 0;
    ctx->ended = ctx->failed = ctx->retry = false;
    ctx->result = ctx->error = NULL;
}

void task_ctx_returned(struct task_ctx *ctx)
{
    if (ctx->ended)
        return;
    if (ctx->ops->cancelled(ctx))
        task_fail(ctx, (struct task_error){"cancelled", false}, "Stopped on request");
    else
        task_fail(ctx, (struct task_error){"internal", false}, "The task ended without a result");
}

void task_ctx_clear(struct task_ctx *ctx)
{
    json_decref(ctx->args);
    free(ctx->result);
    free(ctx->error);
    ctx->args = NULL;
    ctx->result = ctx->error = NULL;
}
