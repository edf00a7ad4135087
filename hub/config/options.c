/* SPDX-License-Identifier: MIT */
/* Loading the configuration: file, environment, flags, and what follows from them; see options.h.
 * Reads files and the environment once, at start; keeps nothing open. */
#include "hub/config/options_table.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX_BYTES (1 << 20)

extern char **environ;

static const char routes_prefix[] = "routes.";

static bool starts_with(struct span text, const char *prefix)
{
    return text.n >= strlen(prefix) && memcmp(text.p, prefix, strlen(prefix)) == 0;
}

static struct span trim(struct span text)
{
    while (text.n && isspace((unsigned char)text.p[0])) {
        text.p++;
        text.n--;
    }
    while (text.n && isspace((unsigned char)text.p[text.n - 1]))
        text.n--;
    return text;
}

/* ---- the file --------------------------------------------------------------------------------- */

struct file {
    const char *name;
    unsigned line;
    unsigned seen[OPTION_IDS]; /* line of the option, 0 = not yet */
    struct options *options;
    struct buf value; /* the decoded value of this line */
    char *reason;
};

/* Prefixes a reason with the place; takes `reason`. */
static bool file_bad(struct file *file, struct span key, char *reason)
{
    file->reason = xasprintf("%s: line %u: %.*s%s%s", file->name, file->line, (int)(key.n > 80 ? 80 : key.n),
                             key.p ? key.p : "", key.n ? ": " : "", reason);
    free(reason);
    return false;
}

/* The text of a "quoted" value; \" and \\ are its escapes. False when it does not end well. */
static bool unquote(struct span text, struct buf *to)
{
    size_t i = 1;
    for (; i < text.n && text.p[i] != '"'; i++) {
        if (text.p[i] == '\\') {
            if (i + 1 >= text.n || (text.p[i + 1] != '"' && text.p[i + 1] != '\\'))
                return false;
            i++;
        }
        buf_append_char(to, text.p[i]);
    }
    if (i >= text.n)
        return false;
    struct span rest = trim((struct span){text.p + i + 1, text.n - i - 1});
    return rest.n == 0 || rest.p[0] == '#';
}

/* The value behind '=': quoted, or plain up to a '#' that follows white space. */
static bool file_value(struct file *file, struct span text)
{
    buf_clear(&file->value);
    text = trim(text);
    if (text.n && text.p[0] == '"')
        return unquote(text, &file->value);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '#' && (i == 0 || isspace((unsigned char)text.p[i - 1]))) {
            text.n = i;
            break;
        }
    }
    buf_append_span(&file->value, trim(text));
    return true;
}

static bool file_route(struct file *file, struct span key)
{
    struct span type = {key.p + strlen(routes_prefix), key.n - strlen(routes_prefix)};
    if (option_has_route(file->options, type)) /* by an earlier line: the file is read before all else */
        return file_bad(file, key, xstrdup("is given twice"));
    char *reason = option_assign_route(file->options, type, buf_span(&file->value));
    return reason ? file_bad(file, key, reason) : true;
}

/* The length of its first word. */
static size_t span_word(struct span text)
{
    size_t n = 0;
    while (n < text.n && text.p[n] != ' ' && text.p[n] != '\t')
        n++;
    return n;
}

static bool file_line(struct file *file, struct span line)
{
    line = trim(line);
    if (line.n == 0 || line.p[0] == '#')
        return true;
    const char *equal = memchr(line.p, '=', line.n);
    if (equal == NULL) { /* what stands behind the first word may be a secret */
        line.n = span_word(line);
        return file_bad(file, line, xstrdup("`key = value` expected"));
    }
    struct span key = trim((struct span){line.p, (size_t)(equal - line.p)});
    if (!file_value(file, (struct span){equal + 1, line.n - (size_t)(equal + 1 - line.p)}))
        return file_bad(file, key, xstrdup("the quoted value does not end well"));
    if (starts_with(key, routes_prefix))
        return file_route(file, key);
    const struct option_row *row = option_find(key);
    if (row == NULL) {
        const char *nearest = option_nearest(key);
        return file_bad(file, key,
                        *nearest ? xasprintf("unknown key, did you mean %s?", nearest)
                                 : xstrdup("unknown key (`taskhub config --document` lists all)"));
    }
    unsigned *seen = &file->seen[row - option_rows];
    if (*seen)
        return file_bad(file, key, xasprintf("is given twice, first in line %u", *seen));
    *seen = file->line;
    char *reason = option_assign(file->options, row, buf_span(&file->value),
                                 (struct option_origin){OPTION_FILE, file->line, false});
    return reason ? file_bad(file, key, reason) : true;
}

bool options_parse_file(struct options *options, const char *name, struct span text, char **ret_reason)
{
    struct file file = {.name = name, .options = options};
    const char *p = text.p, *end = text.p + text.n;
    bool ok = true;
    while (ok && p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *next = newline ? newline : end;
        file.line++;
        ok = file_line(&file, (struct span){p, (size_t)(next - p)});
        p = next + 1;
    }
    buf_free(&file.value);
    if (!ok)
        *ret_reason = file.reason;
    return ok;
}

/* Reads a whole file; false and errno. */
static bool read_file(const char *path, struct buf *to)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n;
    while ((n = read(fd, buf_reserve(to, 4096), 4096)) > 0 && to->len <= FILE_MAX_BYTES)
        to->len += (size_t)n;
    int error = n < 0 ? errno : to->len > FILE_MAX_BYTES ? EFBIG : 0;
    close(fd);
    errno = error;
    return error == 0;
}

/* Reads the file at `path`; a missing one is fine unless it was asked for. */
static bool load_file(struct options *options, const char *path, bool asked, bool *ret_found,
                      char **ret_reason)
{
    struct buf text CLEANUP(buf_free) = BUF_INIT;
    *ret_found = read_file(path, &text);
    if (!*ret_found && errno == ENOENT && !asked)
        return true;
    if (!*ret_found) {
        *ret_reason = xasprintf("configuration file %s: %s", path, strerror(errno));
        return false;
    }
    free(options->config_path);
    options->config_path = xstrdup(path);
    return options_parse_file(options, path, buf_span(&text), ret_reason);
}

static bool load_files(struct options *options, const char *asked, char **ret_reason)
{
    static const char *const usual[] = {"./taskhub.conf", "/etc/taskhub/taskhub.conf"};
    bool found = false;
    if (asked)
        return load_file(options, asked, true, &found, ret_reason);
    for (size_t i = 0; i < NELEMS(usual) && !found; i++)
        if (!load_file(options, usual[i], false, &found, ret_reason))
            return false;
    return true;
}

/* ---- the environment -------------------------------------------------------------------------- */

static bool load_variable(struct options *options, const struct option_row *row, const char *name, bool alias,
                          char **ret_reason)
{
    const char *value = getenv(name);
    if (value == NULL || *value == '\0') /* an empty variable counts as not set */
        return true;
    char *reason =
        option_assign(options, row, span_of(value), (struct option_origin){OPTION_ENVIRONMENT, 0, alias});
    if (reason == NULL)
        return true;
    *ret_reason = xasprintf("environment %s: %s", name, reason);
    free(reason);
    return false;
}

static bool load_route_variable(struct options *options, const char *name, const char *value,
                                char **ret_reason)
{
    struct buf type CLEANUP(buf_free) = BUF_INIT;
    for (const char *p = name + strlen("TASKHUB_ROUTES_"); *p; p++)
        buf_append_char(&type, (char)tolower((unsigned char)*p));
    char *reason = option_assign_route(options, buf_span(&type), span_of(value));
    if (reason == NULL)
        return true;
    *ret_reason = xasprintf("environment %s: %s", name, reason);
    free(reason);
    return false;
}

/* A TASKHUB_ variable that is none of ours but nearly one is a slip of the pen. Others pass: container
 * platforms set TASKHUB_PORT and the like by themselves. */
static bool check_variable(const char *name, char **ret_reason)
{
    char ours[OPTION_NAME_MAX], key[OPTION_NAME_MAX];
    if (strcmp(name, "TASKHUB_CONFIG") == 0)
        return true;
    for (size_t i = 0; i < OPTION_IDS; i++) {
        option_env_name(option_rows[i].key, ours);
        if (strcmp(ours, name) == 0)
            return true;
    }
    snprintf(key, sizeof key, "%s", name + strlen("TASKHUB_"));
    for (char *p = key; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    const char *nearest = option_nearest(span_of(key));
    if (*nearest == '\0' || strlen(key) < 5 || !option_is_slip(span_of(key), nearest))
        return true;
    option_env_name(nearest, ours);
    *ret_reason = xasprintf("environment %s: unknown variable, did you mean %s?", name, ours);
    return false;
}

static bool check_environment(struct options *options, char **ret_reason)
{
    char name[OPTION_NAME_MAX];
    for (char **entry = environ; *entry; entry++) {
        const char *equal = strchr(*entry, '=');
        if (strncmp(*entry, "TASKHUB_", 8) != 0 || equal == NULL || equal - *entry >= (ptrdiff_t)sizeof name)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(equal - *entry), *entry);
        bool route = strncmp(name, "TASKHUB_ROUTES_", 15) == 0;
        if (route ? !load_route_variable(options, name, equal + 1, ret_reason)
                  : !check_variable(name, ret_reason))
            return false;
    }
    return true;
}

static bool load_environment(struct options *options, char **ret_reason)
{
    char name[OPTION_NAME_MAX];
    for (size_t i = 0; i < OPTION_IDS; i++) {
        const struct option_row *row = &option_rows[i];
        if (*row->alias && !load_variable(options, row, row->alias, true, ret_reason))
            return false;
        option_env_name(row->key, name);
        if (!load_variable(options, row, name, false, ret_reason))
            return false;
    }
    return check_environment(options, ret_reason);
}

/* ---- flags ------------------------------------------------------------------------------------ */

struct flags {
    int argc;
    char **argv;
    int at;
    const char *config; /* --config */
    struct options *options;
    bool apply; /* second pass: file and environment stand already */
    char *reason;
};

static bool flag_bad(struct flags *flags, struct span name, char *reason)
{
    flags->reason = xasprintf("--%.*s: %s", (int)(name.n > 80 ? 80 : name.n), name.p, reason);
    free(reason);
    return false;
}

/* Whether a URL has a password in it. */
static bool has_password(const char *url)
{
    const char *authority = strstr(url, "://");
    const char *at = authority ? strchr(authority + 3, '@') : NULL;
    const char *colon = at ? memchr(authority + 3, ':', (size_t)(at - authority - 3)) : NULL;
    return colon != NULL;
}

static const struct option_row *find_flag(struct span name)
{
    char flag[OPTION_NAME_MAX];
    for (size_t i = 0; i < OPTION_IDS; i++) {
        option_flag_name(option_rows[i].key, flag);
        if (span_is(name, flag + 2))
            return &option_rows[i];
    }
    return NULL;
}

static bool flag_unknown(struct flags *flags, struct span name)
{
    char flag[OPTION_NAME_MAX];
    const char *nearest = option_nearest(name);
    if (*nearest == '\0')
        return flag_bad(flags, name, xstrdup("unknown option (see --help)"));
    option_flag_name(nearest, flag);
    return flag_bad(flags, name, xasprintf("unknown option, did you mean %s?", flag));
}

static bool flag_route(struct flags *flags, struct span name, const char *value)
{
    struct buf type CLEANUP(buf_free) = BUF_INIT;
    for (size_t i = strlen(routes_prefix); i < name.n; i++)
        buf_append_char(&type, name.p[i] == '-' ? '_' : name.p[i]);
    char *reason = option_assign_route(flags->options, buf_span(&type), span_of(value));
    return reason ? flag_bad(flags, name, reason) : true;
}

/* Sets what one flag says. `value` is NULL when the flag is the last word. */
static bool flag_apply(struct flags *flags, struct span name, const char *value)
{
    const struct option_row *row = find_flag(name);
    if (row && row->flags & OPTION_SECRET && has_password(value))
        return flag_bad(flags, name,
                        xstrdup("a password on the command line can be read by every user of the "
                                "machine; put it into the environment or the file"));
    if (!flags->apply)
        return true;
    if (row == NULL)
        return flag_route(flags, name, value);
    char *reason =
        option_assign(flags->options, row, span_of(value), (struct option_origin){OPTION_FLAG, 0, false});
    return reason ? flag_bad(flags, name, reason) : true;
}

/* One flag at flags->at; moves behind it and its value. */
static bool flag_step(struct flags *flags)
{
    const char *word = flags->argv[flags->at++] + 2;
    struct span name = {word, strcspn(word, "=")};
    const char *value = word[name.n] ? word + name.n + 1 : NULL;
    const struct option_row *row = find_flag(name);
    bool config = span_is(name, "config");
    if (row == NULL && !config && !starts_with(name, "routes-"))
        return flag_unknown(flags, name);
    const char *next = flags->at < flags->argc ? flags->argv[flags->at] : NULL;
    if (value == NULL && row && row->kind == KIND_OPTION_BOOL && (next == NULL || next[0] == '-'))
        value = "true"; /* `--diagnostics` alone */
    if (value == NULL) {
        if (next == NULL || strncmp(next, "--", 2) == 0) /* one that begins so is given as --flag=value */
            return flag_bad(flags, name, xstrdup("needs a value"));
        value = next;
        flags->at++;
    }
    if (config) {
        flags->config = value;
        return true;
    }
    return flag_apply(flags, name, value);
}

static bool walk_flags(struct flags *flags)
{
    for (flags->at = 1; flags->at < flags->argc;) {
        const char *word = flags->argv[flags->at];
        if (strcmp(word, "--") == 0) {
            flags->at++;
            return true;
        }
        if (strncmp(word, "--", 2) != 0)
            return true;
        if (!flag_step(flags))
            return false;
    }
    return true;
}

/* ---- all together ----------------------------------------------------------------------------- */

/* The data directory when none was configured: decisions in docs/configuration.md. */
static char *default_data_dir(void)
{
    const char *state = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && *state)
        return xstrndup(state, strcspn(state, ":")); /* systemd may list several */
    if (xdg && *xdg == '/')
        return xasprintf("%s/taskhub", xdg);
    if (home && *home)
        return xasprintf("%s/.local/state/taskhub", home);
    return xstrdup("/var/lib/taskhub");
}

bool options_load(struct options *ret, int argc, char **argv, int *ret_rest, char **ret_reason)
{
    struct options options = {0};
    struct flags flags = {.argc = argc, .argv = argv, .options = &options};
    const char *config = getenv("TASKHUB_CONFIG");
    char *reason = NULL;
    bool ok = walk_flags(&flags); /* finds --config, and says first what is wrong with the command line */
    if (flags.config == NULL && config && *config)
        flags.config = config;
    ok = ok && load_files(&options, flags.config, &reason) && load_environment(&options, &reason);
    flags.apply = true;
    ok = ok && walk_flags(&flags);
    if (!ok) {
        *ret_reason = reason ? reason : flags.reason;
        options_free(&options);
        return false;
    }
    option_fill_defaults(&options);
    if (*options.data_dir == '\0') {
        free(options.data_dir);
        options.data_dir = default_data_dir();
    }
    const char *clash = option_check_together(&options);
    if (clash) {
        *ret_reason = xstrdup(clash);
        options_free(&options);
        return false;
    }
    *ret = options;
    *ret_rest = flags.at;
    return true;
}

void options_free(struct options *options)
{
    for (size_t i = 0; i < OPTION_IDS; i++)
        if (option_rows[i].kind == KIND_OPTION_STRING)
            free(*(char **)(void *)((char *)options + option_rows[i].offset));
    free(options->routes);
    free(options->config_path);
    memset(options, 0, sizeof *options);
}
