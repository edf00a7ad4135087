/* SPDX-License-Identifier: MIT */
/* A hub without sockets, on a redis-server of its own: the real methods, manager, queue and owners, under
 * readers (tests/lib/reader.h). Include it once. */
#pragma once

#include "handlers/methods/methods.h"
#include "hub/config/options_table.h"
#include "tasks/model/ctx.h"
#include "tasks/store/schema.h"
#include "tests/lib/queue_side.h"
#include "tests/lib/reader.h"

static struct options options;
static struct app app;
static unsigned joins;

/* ---- task types ---- */

static void run_quick(struct task_ctx *ctx)
{
    task_finish(ctx, NULL);
}
static const struct json_field speech_args[] = {
    {.name = "resource_id", .kinds = KIND_STRING},
    {.name = "format", .kinds = KIND_OBJECT},
};
static const struct task_type *const types[] = {
    &(const struct task_type){.name = "quick", .repeatable = true, .run = run_quick},
    &(const struct task_type){.name = "heavy", .kind = TASK_HEAVY, .queue = "default"},
    &(const struct task_type){.name = "speech",
                              .kind = TASK_HEAVY,
                              .queue = "live",
                              .stream = true,
                              .args = speech_args,
                              .arg_count = NELEMS(speech_args)},
    NULL,
};

/* ---- waiting ---- */

static inline bool log_has(struct reader *reader, const char *part)
{
    buf_append_char(&reader->log, '\0');
    reader->log.len--;
    return strstr(reader->log.data, part) != NULL;
}

/* Waits until the text was read; then forgets what was read. */
static inline void hears_part(struct reader *reader, const char *part, const char *name)
{
    UNTIL(log_has(reader, part));
    const char *text = heard(reader);
    if (!ok(strstr(text, part) != NULL, "%s", name))
        diag("heard: %.400s", text);
}

/* ---- ids: a test calls those it hears #0, #1, … in the order in which they come ---- */

static char ids[10][ID_SIZE];
static unsigned id_count;

static inline unsigned id_number(const char *id)
{
    unsigned i = 0;
    while (i < id_count && strcmp(ids[i], id) != 0)
        i++;
    if (i == NELEMS(ids))
        abort();
    if (i == id_count)
        snprintf(ids[id_count++], ID_SIZE, "%s", id);
    return i;
}

#define MARK ",\"mark\":\""
/* What was read, with every id replaced by its number and without marks, which are made of ids and times. */
static inline const char *heard_ids(struct reader *reader)
{
    static char text[8192];
    size_t n = 0;
    for (const char *p = heard(reader); *p && n < sizeof text - 4; p++) {
        char id[ID_SIZE];
        snprintf(id, sizeof id, "%s", p);
        if (strlen(id) == ID_SIZE - 1 && id_valid(span_of(id))) {
            text[n++] = '#';
            text[n++] = (char)('0' + id_number(id));
            p += ID_SIZE - 2;
        } else if (strncmp(p, MARK, strlen(MARK)) == 0) {
            p += strlen(MARK) + MARK_DIGITS; /* and the quotation mark behind */
        } else {
            text[n++] = *p;
        }
    }
    text[n] = '\0';
    return text;
}

static inline unsigned lines(struct span text)
{
    unsigned count = 0;
    for (size_t i = 0; i < text.n; i++)
        count += text.p[i] == '\n';
    return count;
}

/* Waits until this many lines were read, and compares them. */
static inline void hears(struct reader *reader, const char *want, const char *name)
{
    unsigned count = lines(span_of(want));
    UNTIL(lines(buf_span(&reader->log)) >= count);
    is_text(heard_ids(reader), want, "%s", name);
}

static void on_joined(void *ctx, enum owners_joined result, const struct owner_position *at)
{
    struct reader *reader = ctx;
    if (result == OWNERS_NONE)
        owners_start(reader->member, at->head);
    joins++;
}

/* A user who gets all events from now on. */
static inline struct reader *user(const char *name, unsigned roles)
{
    struct reader *reader = reader_new(&app, name, roles);
    unsigned before = joins;
    owners_join(app.owners, name, reader->member, (struct owners_resume){.seq = 0}, on_joined, reader);
    UNTIL(joins != before);
    return reader;
}

PRINTF_LIKE(2, 3) static inline void saysf(struct reader *reader, const char *fmt, ...)
{
    char text[1024];
    va_list list;
    va_start(list, fmt);
    vsnprintf(text, sizeof text, fmt, list);
    va_end(list);
    says(reader, text);
}

/* ---- life ---- */

static inline void hub_begin(void)
{
    char *reason = NULL;
    signal(SIGPIPE, SIG_IGN);
    if (sodium_init() < 0 || !redis_server_new(&server))
        skip_all("no redis-server");
    option_fill_defaults(&options);
    free(options.data_dir);
    options.data_dir = xstrdup(server.dir);
    options.user_tasks = 5;
    options.args_bytes = 1000;
    options.light_fuse_us = 10000000;
    options.user_streams = 2;
    options.audio_window_bytes = 64;
    options.audio_max_bytes = 250;
    if (loop_init(&loop) != 0 || !store_prepare(&options, &reason))
        abort();
    task_types_use(types);
    app = (struct app){.options = &options, .loop = &loop};
    connect_side(&hub, "hub/1", true,
                 (struct queue_feed_hooks){.on_event = app_event,
                                           .on_bell = app_bell,
                                           .on_cancel = app_cancel,
                                           .on_admin = app_admin_event,
                                           .ctx = &app});
    app.queue = hub.queue;
    app.feed = hub.feed;
    app.owners = owners_new(&loop, queue_feed_source(app.feed));
    app.manager = manager_new(&(struct manager_config){
        .options = &options, .queue = app.queue, .loop = &loop, .owners = app.owners});
    app_start(&app);
    ok(reach(&hub.ready, 1) && reach(&hub.feed_ups, 1), "the hub is ready");
    app_redis(&app, true);
}

/* Frees everything; nothing may be left. */
static inline void hub_end(void)
{
    redis_free(&hub.commands);
    owners_free(&app.owners);
    queue_feed_free(&app.feed);
    queue_free(&app.queue);
    manager_free(&app.manager);
    app_stop(&app);
    redis_free(&hub.subscriber);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(loop_deinit(&loop), 0, "no handle is left");
    options_free(&options);
    redis_server_free(&server);
}
