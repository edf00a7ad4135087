/* SPDX-License-Identifier: MIT */
/* The option table, names of options, and setting one value; see options_table.h. No I/O. */
#include "hub/config/options_table.h"

#include "hub/base/digits.h"

#include <ctype.h>
#include <stdio.h>

const struct option_row option_rows[OPTION_IDS] = {
#define OPTION_STRING(key, member, default_, flags, alias, help)                                             \
    {key, alias, help, KIND_OPTION_STRING, offsetof(struct options, member), flags, default_, 0, 0, 0},
#define OPTION_INT(key, member, default_, min, max, flags, alias, help)                                      \
    {key, alias, help, KIND_OPTION_INT, offsetof(struct options, member), flags, NULL, default_, min, max},
#define OPTION_BOOL(key, member, default_, flags, alias, help)                                               \
    {key, alias, help, KIND_OPTION_BOOL, offsetof(struct options, member), flags, NULL, default_, 0, 1},
#include "hub/config/options.def"
};

/* ---- names ------------------------------------------------------------------------------------ */

void option_flag_name(const char *key, char name[static OPTION_NAME_MAX])
{
    snprintf(name, OPTION_NAME_MAX, "--%s", key);
    for (char *p = name; *p; p++)
        if (*p == '.' || *p == '_')
            *p = '-';
}

void option_env_name(const char *key, char name[static OPTION_NAME_MAX])
{
    snprintf(name, OPTION_NAME_MAX, "TASKHUB_%s", key);
    for (char *p = name; *p; p++)
        *p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
}

const struct option_row *option_find(struct span key)
{
    for (size_t i = 0; i < OPTION_IDS; i++)
        if (span_is(key, option_rows[i].key))
            return &option_rows[i];
    return NULL;
}

#define DISTANCE_MAX_LEN 64

/* Levenshtein's distance: single-character insertions, deletions and replacements. Whatever separates
 * words counts as the same character, so that a wrong separator is the nearest miss. */
static unsigned distance(struct span a, const char *b)
{
    unsigned row[DISTANCE_MAX_LEN + 1];
    size_t bn = strlen(b);
    if (a.n > DISTANCE_MAX_LEN || bn > DISTANCE_MAX_LEN)
        return DISTANCE_MAX_LEN;
    for (unsigned j = 0; j <= bn; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= bn; j++) {
            bool separators = strchr("._-", a.p[i - 1]) && strchr("._-", b[j - 1]);
            bool same = separators || tolower((unsigned char)a.p[i - 1]) == b[j - 1];
            unsigned best = diagonal + (same ? 0 : 1);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[bn];
}

const char *option_nearest(struct span key)
{
    const char *nearest = "";
    unsigned best = 1 + (unsigned)(key.n / 2); /* more than half of it wrong is no likeness */
    for (size_t i = 0; i < OPTION_IDS; i++) {
        unsigned d = distance(key, option_rows[i].key);
        if (d < best) {
            best = d;
            nearest = option_rows[i].key;
        }
    }
    return nearest;
}

bool option_is_slip(struct span a, const char *b)
{
    return distance(a, b) <= 2;
}

/* ---- values ----------------------------------------------------------------------------------- */

static char *assign_string(char **member, const struct option_row *row, struct span value)
{
    char *text = xstrndup(value.p, value.n);
    const char *reason = option_check_text((enum option_id)(row - option_rows), text);
    if (reason) {
        free(text);
        return xstrdup(reason);
    }
    free(*member);
    *member = text;
    return NULL;
}

static char *assign_int(int64_t *member, const struct option_row *row, struct span value)
{
    int64_t number;
    if (!digits_int(value, &number) || number < row->min || number > row->max)
        return xasprintf("must be a whole number between %lld and %lld", (long long)row->min,
                         (long long)row->max);
    *member = number;
    return NULL;
}

static char *assign_bool(bool *member, struct span value)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true}, {"1", true}, {"yes", true}, {"false", false}, {"0", false}, {"no", false}};
    for (size_t i = 0; i < NELEMS(words); i++) {
        if (span_is(value, words[i].word)) {
            *member = words[i].value;
            return NULL;
        }
    }
    return xstrdup("must be true or false (or 1, 0, yes, no)");
}

char *option_assign(struct options *options, const struct option_row *row, struct span value,
                    struct option_origin origin)
{
    void *member = (char *)options + row->offset;
    char *reason = NULL;
    if (value.n && memchr(value.p, '\0', value.n))
        return xstrdup("holds a NUL byte");
    if (row->kind == KIND_OPTION_STRING)
        reason = assign_string(member, row, value);
    else if (row->kind == KIND_OPTION_INT)
        reason = assign_int(member, row, value);
    else
        reason = assign_bool(member, value);
    if (reason == NULL)
        options->origin[row - option_rows] = origin;
    return reason;
}

void option_fill_defaults(struct options *options)
{
    for (size_t i = 0; i < OPTION_IDS; i++) {
        const struct option_row *row = &option_rows[i];
        void *member = (char *)options + row->offset;
        if (options->origin[i].source != OPTION_DEFAULT)
            continue;
        if (row->kind == KIND_OPTION_STRING) {
            char **text = member;
            free(*text);
            *text = xstrdup(row->text);
        } else if (row->kind == KIND_OPTION_INT) {
            *(int64_t *)member = row->number;
        } else {
            *(bool *)member = row->number != 0;
        }
    }
    if (options->routes == NULL)
        options->routes = xstrdup("\n");
}

/* ---- routes ----------------------------------------------------------------------------------- */

/* Where "\ntype=" stands in the routes, NULL if it does not. */
static char *find_route(const struct options *options, struct span type)
{
    if (options->routes == NULL)
        return NULL;
    for (char *line = options->routes; (line = strchr(line, '\n')) != NULL && line[1]; line++)
        if (strncmp(line + 1, type.p, type.n) == 0 && line[1 + type.n] == '=')
            return line;
    return NULL;
}

bool option_has_route(const struct options *options, struct span type)
{
    return find_route(options, type) != NULL;
}

static bool is_type_name(struct span name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!islower((unsigned char)name.p[i]) && !isdigit((unsigned char)name.p[i]) && name.p[i] != '_' &&
            name.p[i] != '.')
            return false;
    return name.n >= 1 && name.n <= 64;
}

char *option_assign_route(struct options *options, struct span type, struct span executor)
{
    if (!is_type_name(type))
        return xstrdup("is no name of a task type");
    if (!span_is(executor, "threads") && !span_is(executor, "queue"))
        return xstrdup("must be threads or queue");
    struct buf routes = BUF_INIT;
    char *old = find_route(options, type);
    if (old) {
        char *after = strchr(old + 1, '\n');
        memmove(old, after, strlen(after) + 1);
    }
    buf_append_text(&routes, options->routes ? options->routes : "\n");
    buf_append_span(&routes, type);
    buf_append_char(&routes, '=');
    buf_append_span(&routes, executor);
    buf_append_char(&routes, '\n');
    free(options->routes);
    options->routes = buf_take_string(&routes);
    return NULL;
}
