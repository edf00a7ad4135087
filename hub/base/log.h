/* SPDX-License-Identifier: MIT */
/* Log lines on stderr, logfmt or JSON, one line per call, at most 20 per call site and second. Any thread.
 * Values are escaped, so that text from users cannot forge a line; tokens and audio are never logged. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Call once, before threads start. `program` is kept (static string); the words are those of the options
 * log.level and log.format, unknown ones mean info and logfmt. */
void log_setup(const char *program, const char *level, const char *format);

struct log_site { /* of one call site: lines written in this second */
    uint64_t second;
    unsigned count;
};

/* Writes `msg` (a static text) and pairs of const char *key, const char *value (NULL prints as empty), ended
 * by NULL. Call it through the macros below. */
void log_write(struct log_site *site, enum log_level level, const char *msg, ...) __attribute__((sentinel));

/* A number as a value; valid until the end of the enclosing block. */
#define LOG_NUM(n) (log_num((char[24]){0}, (int64_t)(n)))
char *log_num(char text[static 24], int64_t n);

#define LOG_AT(level, ...)                                                                                   \
    do {                                                                                                     \
        static struct log_site site_;                                                                        \
        log_write(&site_, (level), __VA_ARGS__, (char *)NULL);                                               \
    } while (0)
#define log_debug(...) LOG_AT(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) LOG_AT(LOG_INFO, __VA_ARGS__)
#define log_warn(...) LOG_AT(LOG_WARN, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_ERROR, __VA_ARGS__)
