/* SPDX-License-Identifier: MIT */
/* The configuration as text for people (effective values with their origin, --help, the reference page)
 * and for child processes; see options.h. Pure functions. */
#include "hub/config/options_table.h"

#include <stdio.h>

/* A URL without user, password and query. */
static char *redacted(const char *value)
{
    const char *authority = strstr(value, "://");
    const char *at = authority ? strrchr(authority, '@') : NULL;
    size_t shown = strcspn(value, "?");
    const char *more = value[shown] ? "?…" : "";
    if (at == NULL || at >= value + shown)
        return xasprintf("%.*s%s", (int)shown, value, more);
    return xasprintf("%.*s://…%.*s%s", (int)(authority - value), value, (int)(value + shown - at), at, more);
}

/* The value of a row as text (free()). */
static char *value_text(const struct options *options, const struct option_row *row)
{
    const void *member = (const char *)options + row->offset;
    if (row->kind == KIND_OPTION_INT)
        return xasprintf("%lld", (long long)*(const int64_t *)member);
    if (row->kind == KIND_OPTION_BOOL)
        return xstrdup(*(const bool *)member ? "true" : "false");
    return xstrdup(*(char *const *)member);
}

static void print_value(struct buf *to, const char *value)
{
    bool plain = *value && strpbrk(value, " #\"\\") == NULL;
    if (plain) {
        buf_append_text(to, value);
        return;
    }
    buf_append_char(to, '"');
    for (const char *p = value; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_append_char(to, '\\');
        buf_append_char(to, *p);
    }
    buf_append_char(to, '"');
}

static void print_origin(struct buf *to, const struct options *options, size_t id)
{
    const struct option_origin *origin = &options->origin[id];
    char name[OPTION_NAME_MAX];
    option_name(option_rows[id].key, origin->source, name);
    if (origin->source == OPTION_DEFAULT)
        buf_append_text(to, "default");
    else if (origin->source == OPTION_FILE)
        buf_printf(to, "%s line %u", options->config_path ? options->config_path : "file", origin->line);
    else
        buf_printf(to, "%s%s", origin->source == OPTION_ENVIRONMENT ? "environment " : "",
                   origin->alias ? option_rows[id].alias : name);
}

void options_print(const struct options *options, struct buf *to)
{
    for (size_t i = 0; i < OPTION_IDS; i++) {
        char *value CLEANUP(free_char) = value_text(options, &option_rows[i]);
        char *shown CLEANUP(free_char) =
            option_rows[i].flags & OPTION_SECRET ? redacted(value) : xstrdup(value);
        size_t from = to->len;
        buf_printf(to, "%s = ", option_rows[i].key);
        print_value(to, shown);
        do
            buf_append_char(to, ' ');
        while (to->len - from < 44);
        buf_append_text(to, "# ");
        print_origin(to, options, i);
        buf_append_char(to, '\n');
    }
    for (const char *line = options->routes + 1; *line;) {
        size_t length = strcspn(line, "\n"), type = strcspn(line, "=");
        buf_append_text(to, "routes.");
        buf_append(to, line, type);
        buf_append_text(to, " = ");
        buf_append(to, line + type + 1, length - type - 1);
        buf_append_char(to, '\n');
        line += length + 1;
    }
}

void options_help(struct buf *to)
{
    static const char *const kinds[] = {"TEXT", "N", "[true|false]"};
    char name[OPTION_NAME_MAX];
    buf_append_text(to, "Options (flag > environment > file > default; `--flag value` or `--flag=value`):\n"
                        "  --config FILE\n"
                        "      configuration file; default ./taskhub.conf, /etc/taskhub/taskhub.conf\n");
    for (size_t i = 0; i < OPTION_IDS; i++) {
        const struct option_row *row = &option_rows[i];
        option_name(row->key, OPTION_FLAG, name);
        buf_printf(to, "  %s %s\n      %s", name, kinds[row->kind], row->help);
        if (*row->text)
            buf_printf(to, " [%s]", row->text);
        buf_append_char(to, '\n');
    }
    buf_append_text(to, "  --routes-TYPE threads|queue\n      run tasks of TYPE there\n");
}

void options_document(struct buf *to)
{
    char name[OPTION_NAME_MAX];
    buf_append_text(to, "| key | default | environment | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < OPTION_IDS; i++) {
        const struct option_row *row = &option_rows[i];
        option_name(row->key, OPTION_ENVIRONMENT, name);
        buf_printf(to, "| `%s` | ", row->key);
        if (*row->text)
            buf_printf(to, "`%s`", row->text);
        buf_printf(to, " | `%s`", name);
        if (*row->alias)
            buf_printf(to, ", `%s`", row->alias);
        buf_printf(to, " | %s", row->help);
        if (row->kind == KIND_OPTION_INT)
            buf_printf(to, " (%lld–%lld)", (long long)row->min, (long long)row->max);
        buf_append_text(to, " |\n");
    }
    buf_append_text(to, "| `routes.<type>` | | `TASKHUB_ROUTES_<TYPE>` | where tasks of this type run: "
                        "threads or queue |\n");
}

void options_export(const struct options *options, struct child_env *to)
{
    char name[OPTION_NAME_MAX];
    for (size_t i = 0; i < OPTION_IDS; i++) {
        if (options->origin[i].source != OPTION_FLAG)
            continue;
        char *value CLEANUP(free_char) = value_text(options, &option_rows[i]);
        option_name(option_rows[i].key, OPTION_ENVIRONMENT, name);
        child_env_add(to, name, value);
    }
}
