/* SPDX-License-Identifier: MIT */
/* The option table, the names of options, and setting one value; see options_table.h. Pure functions. */
#include "hub/config/options_table.h"

#include "hub/base/digits.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>

const struct option_row option_rows[OPTION_IDS] = {
#define OPTION_STRING(key, member, default_, flags, alias, help)                                             \
    {key, alias, help, KIND_OPTION_STRING, offsetof(struct options, member), flags, default_, 0, 0},
#define OPTION_INT(key, member, default_, min, max, flags, alias, help)                                      \
    {key, alias, help, KIND_OPTION_INT, offsetof(struct options, member), flags, #default_, min, max},
#define OPTION_BOOL(key, member, default_, flags, alias, help)                                               \
    {key, alias, help, KIND_OPTION_BOOL, offsetof(struct options, member), flags, #default_, 0, 0},
#include "hub/config/options.def"
};

/* ---- names ------------------------------------------------------------------------------------ */

static const struct {
    const char *prefix;
    char dot, underscore; /* replacements for '.' and '_' */
} styles[] = {[OPTION_DEFAULT] = {"", '.', '_'},
              [OPTION_FILE] = {"", '.', '_'},
              [OPTION_ENVIRONMENT] = {"TASKHUB_", '_', '_'},
              [OPTION_FLAG] = {"--", '-', '-'}};

void option_name(const char *key, enum option_source source, char name[static OPTION_NAME_MAX])
{
    int n = snprintf(name, OPTION_NAME_MAX, "%s", styles[source].prefix);
    snprintf(name + n, OPTION_NAME_MAX - (size_t)n, "%s", key);
    for (char *p = name + n; *p; p++) {
        if (*p == '.' || *p == '_')
            *p = *p == '.' ? styles[source].dot : styles[source].underscore;
        else if (source == OPTION_ENVIRONMENT)
            *p = (char)toupper((unsigned char)*p);
    }
}

const struct option_row *option_find(struct span name, enum option_source source)
{
    char own[OPTION_NAME_MAX];
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_IDS; row++) {
        option_name(row->key, source, own);
        if (span_is(name, own) || (source == OPTION_ENVIRONMENT && *row->alias && span_is(name, row->alias)))
            return row;
    }
    return NULL;
}

bool option_names_route(struct span name, enum option_source source, struct buf *ret_type)
{
    char prefix[OPTION_NAME_MAX];
    option_name("routes.", source, prefix);
    if (!span_begins(name, prefix))
        return false;
    for (struct span type = span_from(name, strlen(prefix)); type.n; type = span_from(type, 1)) {
        char c = source == OPTION_ENVIRONMENT ? (char)tolower((unsigned char)*type.p) : *type.p;
        buf_append_char(ret_type, source == OPTION_FLAG && c == '-' ? '_' : c);
    }
    return true;
}

#define DISTANCE_MAX_LEN 64

/* Levenshtein's distance (V. I. Levenshtein, 1966): insertions, deletions and replacements of one character,
 * in one row of the table. All separators of words count as the same character, so that a wrong one is the
 * nearest miss. */
static unsigned distance(struct span a, const char *b)
{
    unsigned row[DISTANCE_MAX_LEN + 1];
    size_t bn = strlen(b);
    if (a.n > DISTANCE_MAX_LEN || bn > DISTANCE_MAX_LEN)
        return UINT_MAX;
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

const char *option_nearest(struct span name, enum option_source source, unsigned *ret_distance)
{
    const char *prefix = styles[source].prefix, *nearest = NULL;
    struct span key = span_begins(name, prefix) ? span_from(name, strlen(prefix)) : name;
    unsigned best = 1 + (unsigned)(key.n / 2); /* with more than half of it wrong, nothing is near */
    for (size_t i = 0; i < OPTION_IDS; i++) {
        unsigned d = distance(key, option_rows[i].key);
        if (d < best) {
            best = d;
            nearest = option_rows[i].key;
        }
    }
    if (ret_distance)
        *ret_distance = best;
    return nearest;
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
    const struct option_origin *before = &options->origin[row - option_rows];
    if (origin.source == OPTION_FILE && before->source == OPTION_FILE)
        return xasprintf("is given twice, first in line %u", before->line);
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
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_IDS; row++)
        if (options->origin[row - option_rows].source == OPTION_DEFAULT)
            free(option_assign(options, row, span_of(row->text),
                               (struct option_origin){OPTION_DEFAULT, 0, false}));
    if (options->routes == NULL)
        options->routes = xstrdup("\n");
}

/* ---- routes ----------------------------------------------------------------------------------- */

/* Returns the position of "\ntype=" in the routes, NULL if there is none. */
static char *find_route(const struct options *options, struct span type)
{
    if (options->routes == NULL)
        return NULL;
    for (char *line = options->routes; (line = strchr(line, '\n')) != NULL && line[1]; line++)
        if (strncmp(line + 1, type.p, type.n) == 0 && line[1 + type.n] == '=')
            return line;
    return NULL;
}

static bool is_type_name(struct span name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!islower((unsigned char)name.p[i]) && !isdigit((unsigned char)name.p[i]) && name.p[i] != '_' &&
            name.p[i] != '.')
            return false;
    return name.n >= 1 && name.n <= 64;
}

char *option_assign_route(struct options *options, struct span type, struct span executor,
                          struct option_origin origin)
{
    char *old = find_route(options, type);
    if (old && origin.source == OPTION_FILE) /* by an earlier line: the file is read first */
        return xstrdup("is given twice");
    if (!is_type_name(type))
        return xstrdup("is no name of a task type");
    if (!span_is(executor, "threads") && !span_is(executor, "queue"))
        return xstrdup("must be threads or queue");
    struct buf routes = BUF_INIT;
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
