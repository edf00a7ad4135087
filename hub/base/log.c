/* SPDX-License-Identifier: MIT */
/* Log lines; see log.h. Any thread. A line is built in a buffer and written by one write(2), so that lines of
 * several threads and processes do not mix. */
#include "hub/base/log.h"

#include "hub/base/buf.h"
#include "hub/base/clock.h"
#include "hub/base/utf8.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LINES_PER_SECOND 20

static struct {
    pthread_mutex_t lock; /* protects the call sites' counters */
    const char *program;
    enum log_level level;
    bool json;
} config = {PTHREAD_MUTEX_INITIALIZER, "taskhub", LOG_INFO, false};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(const char *program, const char *level, const char *format)
{
    config.program = program;
    config.level = LOG_INFO;
    config.json = strcmp(format, "json") == 0;
    for (size_t i = 0; i < NELEMS(level_names); i++)
        if (strcmp(level_names[i], level) == 0)
            config.level = (enum log_level)i;
}

char *log_num(char text[static 24], int64_t n)
{
    snprintf(text, 24, "%lld", (long long)n);
    return text;
}

/* Whether this call site may write another line in this second. */
static bool site_open(struct log_site *site)
{
    uint64_t second = clock_mono_ms() / 1000;
    pthread_mutex_lock(&config.lock);
    if (site->second != second) {
        site->second = second;
        site->count = 0;
    }
    bool open = site->count++ < LINES_PER_SECOND;
    pthread_mutex_unlock(&config.lock);
    return open;
}

static bool is_plain(const char *value)
{
    if (*value == '\0')
        return false;
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == '"' || *p == '=' || *p == '\\' || (unsigned char)*p >= 127)
            return false;
    return true;
}

/* Appends a JSON string in which characters that affect a terminal (C1 controls) or the direction of text are
 * also written as \u…. */
static void append_quoted(struct buf *line, const char *value)
{
    struct buf text CLEANUP(buf_free) = BUF_INIT;
    buf_append_json(&text, span_of(value));
    const unsigned char *p = (const unsigned char *)text.data;
    for (size_t i = 0, length; i < text.len; i += length) {
        length = utf8_length(p + i, text.len - i);
        if (utf8_printable(text.data + i, length))
            buf_append(line, text.data + i, length);
        else
            buf_printf(line, "\\u%04lx", utf8_decode(p + i, length));
    }
}

static void append_pair(struct buf *line, const char *key, const char *value)
{
    value = value ? value : "";
    if (config.json) {
        buf_append_text(line, line->len > 1 ? "," : "");
        buf_append_json(line, span_of(key));
        buf_append_char(line, ':');
        append_quoted(line, value);
        return;
    }
    if (line->len)
        buf_append_char(line, ' ');
    buf_append_text(line, key);
    buf_append_char(line, '=');
    if (is_plain(value))
        buf_append_text(line, value);
    else
        append_quoted(line, value);
}

void log_write(struct log_site *site, enum log_level level, const char *msg, ...)
{
    if (level < config.level || !site_open(site))
        return;
    char at[CLOCK_TEXT_SIZE];
    clock_format(clock_wall_ms(), at);
    struct buf line = BUF_INIT;
    if (config.json)
        buf_append_char(&line, '{');
    append_pair(&line, "ts", at);
    append_pair(&line, "level", level_names[level]);
    append_pair(&line, "prog", config.program);
    append_pair(&line, "msg", msg);

    va_list args;
    va_start(args, msg);
    for (const char *key; (key = va_arg(args, const char *)) != NULL;)
        append_pair(&line, key, va_arg(args, const char *));
    va_end(args);

    buf_append_text(&line, config.json ? "}\n" : "\n");
    ssize_t written = write(STDERR_FILENO, line.data, line.len);
    (void)written; /* an error could not be reported anywhere */
    buf_free(&line);
}
