/* SPDX-License-Identifier: MIT */
/* Checks of option values that options.def cannot express; see options_table.h. Pure functions. */
#include "hub/config/options_table.h"

#include "hub/config/redis_url.h"

#include <ctype.h>

static bool is_port(const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || n > 5 || strspn(text, "0123456789") != n)
        return false;
    return strtol(text, NULL, 10) <= 65535;
}

static const char *check_listen(const char *value)
{
    const char *colon = strrchr(value, ':');
    if (strncmp(value, "unix:", 5) == 0)
        return value[5] ? NULL : "unix: needs a path";
    if (colon == NULL || !is_port(colon + 1))
        return "must be host:port with a port of 0 to 65535, [v6 address]:port or unix:PATH";
    if (value[0] == '[')
        return colon[-1] == ']' && colon - value > 2 ? NULL : "a v6 address is written [address]:port";
    if (memchr(value, ':', (size_t)(colon - value)))
        return "a v6 address is written [address]:port";
    return colon > value ? NULL : "the host is missing";
}

static const char *check_redis_url(const char *value)
{
    struct redis_url url = {0};
    const char *reason = *value ? redis_url_parse(value, &url) : NULL;
    redis_url_free(&url);
    return reason;
}

static const char *check_database_url(const char *value)
{
    if (*value == '\0' || (strncmp(value, "sqlite:", 7) == 0 && value[7]))
        return NULL;
    if (strncmp(value, "postgres", 8) == 0)
        return "PostgreSQL is not in this build; leave it empty or use sqlite:PATH";
    return "must be empty or sqlite:PATH";
}

static const char *check_celery(const char *value)
{
    return *value ? "an existing Celery fleet as executor is not in this build" : NULL;
}

/* Names go into Redis keys and log lines. */
static bool is_name_char(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("._-:@", c));
}

void options_clean_name(char *name)
{
    for (char *p = name; *p; p++)
        if (!is_name_char(*p))
            *p = '-';
}

static const char *check_name(const char *value)
{
    for (const char *p = value; *p; p++)
        if (!is_name_char(*p))
            return "may hold letters, digits and . _ - : @ only";
    return strlen(value) <= 64 ? NULL : "is longer than 64 characters";
}

static const char *check_not_empty(const char *value)
{
    return *value ? NULL : "must not be empty";
}

static const struct {
    enum option_id id;
    const char *(*check)(const char *value);
} checks[] = {
    {OPTION_ID_listen, check_listen},
    {OPTION_ID_redis_url, check_redis_url},
    {OPTION_ID_database_url, check_database_url},
    {OPTION_ID_celery_broker_url, check_celery},
    {OPTION_ID_celery_result_backend, check_celery},
    {OPTION_ID_hub_name, check_name},
    {OPTION_ID_worker_name, check_name},
    {OPTION_ID_auth_audience, check_not_empty},
};

static const struct {
    enum option_id id;
    const char *words[6];
    const char *reason;
} choices[] = {
    {OPTION_ID_redis_fsync, {"everysec", "always"}, "must be everysec or always"},
    {OPTION_ID_log_level, {"debug", "info", "warn", "error"}, "must be debug, info, warn or error"},
    {OPTION_ID_log_format, {"logfmt", "json"}, "must be logfmt or json"},
    {OPTION_ID_speech_engine,
     {"auto", "moonshine", "builtin", "http", "exec"},
     "must be auto, moonshine, builtin, http or exec"},
};

const char *option_check_text(enum option_id id, const char *value)
{
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            return "holds a control character";
    for (size_t i = 0; i < NELEMS(checks); i++)
        if (checks[i].id == id)
            return checks[i].check(value);
    for (size_t i = 0; i < NELEMS(choices); i++) {
        if (choices[i].id != id)
            continue;
        for (const char *const *word = choices[i].words; *word; word++)
            if (strcmp(*word, value) == 0)
                return NULL;
        return choices[i].reason;
    }
    return NULL;
}

const char *option_check_together(const struct options *options)
{
    const char *engine = options->speech_engine;
    if (strcmp(engine, "http") == 0 && *options->speech_http_url == '\0')
        return "speech.engine: http needs speech.http_url, the address of a transcription server";
    if (strcmp(engine, "exec") == 0 && options->speech_exec[strspn(options->speech_exec, " ")] == '\0')
        return "speech.engine: exec needs speech.exec, the command to run";
    if (options->redis_require_durable && options->redis_allow_volatile)
        return "redis.require_durable: contradicts redis.allow_volatile";
    if (options->redis_min_replicas && *options->redis_url == '\0')
        return "redis.min_replicas: a private Redis has no replicas; set redis.url";
    return NULL;
}
