/* SPDX-License-Identifier: MIT */
/* Loads the configuration from file, environment and command line; see options.h. Main thread, at start.
 * Never changes it afterwards. */
#include "hub/config/options_table.h"

#include "hub/base/file.h"

#include <ctype.h>
#include <errno.h>
#include <unistd.h>

#define FILE_MAX_BYTES (1 << 20)
#define NAME_SHOWN 80 /* bytes of a name in an error */
#define SLIP 2        /* most differing letters that count as a typo */
#define SLIP_MIN 5    /* … in a name of at least this many */

extern char **environ;

/* The source from which options are being set. */
struct source {
    struct options *options;
    struct option_origin origin;
    const char *file; /* its name */
    char *reason;     /* why it was refused, and where */
};

/* Keeps the reason (taken) with its place. Always false. */
static bool refuse(struct source *source, struct span name, char *reason)
{
    struct buf text = BUF_INIT;
    if (source->origin.source == OPTION_FILE)
        buf_printf(&text, "%s: line %u: ", source->file, source->origin.line);
    if (source->origin.source == OPTION_ENVIRONMENT)
        buf_append_text(&text, "environment ");
    if (name.n)
        buf_printf(&text, "%.*s: ", (int)(name.n > NAME_SHOWN ? NAME_SHOWN : name.n), name.p);
    buf_append_text(&text, reason);
    free(reason);
    source->reason = buf_take_string(&text);
    return false;
}

static char *unknown(const struct source *source, struct span name)
{
    static const struct {
        const char *what, *hint;
    } words[] = {[OPTION_FILE] = {"key", " (`taskhub config --document` lists all)"},
                 [OPTION_ENVIRONMENT] = {"variable", ""},
                 [OPTION_FLAG] = {"option", " (see --help)"}};
    enum option_source from = source->origin.source;
    const char *nearest = option_nearest(name, from, NULL);
    char right[OPTION_NAME_MAX];
    if (nearest == NULL)
        return xasprintf("unknown %s%s", words[from].what, words[from].hint);
    option_name(nearest, from, right);
    return xasprintf("unknown %s, did you mean %s?", words[from].what, right);
}

/* Sets an option or the route of a type by its name. False and source->reason. */
static bool set(struct source *source, struct span name, struct span value)
{
    const struct option_row *row = option_find(name, source->origin.source);
    struct buf type CLEANUP(buf_free) = BUF_INIT;
    char *reason;
    if (row)
        reason = option_assign(source->options, row, value, source->origin);
    else if (option_names_route(name, source->origin.source, &type))
        reason = option_assign_route(source->options, buf_span(&type), value, source->origin);
    else
        reason = unknown(source, name);
    return reason ? refuse(source, name, reason) : true;
}

/* ---- the file --------------------------------------------------------------------------------- */

static struct span trim(struct span text)
{
    while (text.n && isspace((unsigned char)text.p[0]))
        text = span_from(text, 1);
    while (text.n && isspace((unsigned char)text.p[text.n - 1]))
        text.n--;
    return text;
}

/* Appends the text of a "quoted" value; \" and \\ are its escapes. False if it is not properly closed. */
static bool unquote(struct span text, struct buf *to)
{
    size_t i = 1;
    for (; i < text.n && text.p[i] != '"'; i++) {
        if (text.p[i] == '\\' && (++i == text.n || (text.p[i] != '"' && text.p[i] != '\\')))
            return false;
        buf_append_char(to, text.p[i]);
    }
    if (i >= text.n)
        return false;
    struct span rest = trim(span_from(text, i + 1));
    return rest.n == 0 || rest.p[0] == '#';
}

/* Appends the value after '=': quoted, or plain up to a '#' that follows white space. False if it is not
 * properly closed. */
static bool read_value(struct span text, struct buf *to)
{
    text = trim(text);
    if (span_begins(text, "\""))
        return unquote(text, to);
    size_t n = 0;
    while (n < text.n && !(text.p[n] == '#' && (n == 0 || isspace((unsigned char)text.p[n - 1]))))
        n++;
    buf_append_span(to, trim((struct span){text.p, n}));
    return true;
}

static bool read_line(struct source *source, struct span line)
{
    struct buf value CLEANUP(buf_free) = BUF_INIT;
    struct span rest = trim(line), key = span_cut(&rest, '=');
    if (key.n ? key.p[0] == '#' : rest.p == NULL)
        return true;
    if (rest.p == NULL) {
        struct span word = span_cut(&key, ' '); /* the rest may be a secret */
        return refuse(source, span_cut(&word, '\t'), xstrdup("`key = value` expected"));
    }
    key = trim(key);
    if (!read_value(rest, &value))
        return refuse(source, key, xstrdup("the quoted value does not end well"));
    return set(source, key, buf_span(&value));
}

bool options_parse_file(struct options *options, const char *name, struct span text, char **ret_reason)
{
    struct source source = {.options = options, .file = name, .origin.source = OPTION_FILE};
    bool fine = true;
    while (fine && text.n) {
        source.origin.line++;
        fine = read_line(&source, span_cut(&text, '\n'));
    }
    *ret_reason = source.reason;
    return fine;
}

/* Reads the requested file, else the first of the usual ones that exists. */
static bool load_file(struct source *source, const char *path)
{
    static const char *const usual[] = {"./taskhub.conf", "/etc/taskhub/taskhub.conf"};
    for (size_t i = 0; path == NULL && i < NELEMS(usual); i++)
        if (access(usual[i], F_OK) == 0 || errno != ENOENT)
            path = usual[i];
    if (path == NULL)
        return true;
    char *text CLEANUP(free_char) = xmalloc(FILE_MAX_BYTES);
    ssize_t n = file_read(path, text, FILE_MAX_BYTES);
    if (n < 0) {
        source->reason = xasprintf("configuration file %s: %s", path, strerror(errno));
        return false;
    }
    source->options->config_path = xstrdup(path);
    return options_parse_file(source->options, path, (struct span){text, (size_t)n}, &source->reason);
}

/* ---- the environment -------------------------------------------------------------------------- */

/* Whether this is one of Taskhub's variables, or nearly. Others pass: container platforms set TASKHUB_PORT
 * and the like by themselves. */
static bool is_ours(struct span name)
{
    unsigned distance;
    struct buf type CLEANUP(buf_free) = BUF_INIT;
    return option_names_route(name, OPTION_ENVIRONMENT, &type) || option_find(name, OPTION_ENVIRONMENT) ||
           (name.n >= strlen("TASKHUB_") + SLIP_MIN && !span_is(name, "TASKHUB_CONFIG") &&
            option_nearest(name, OPTION_ENVIRONMENT, &distance) && distance <= SLIP);
}

static bool load_environment(struct source *source)
{
    source->origin = (struct option_origin){.source = OPTION_ENVIRONMENT};
    for (char **entry = environ; *entry; entry++) {
        struct span value = span_of(*entry), name = span_cut(&value, '=');
        bool given = value.n && span_begins(name, "TASKHUB_"); /* an empty variable counts as not set */
        if (given && is_ours(name) && !set(source, name, value))
            return false;
    }
    return true;
}

/* Keeps the reason of a refusal as a warning. */
static void warn(struct source *source, const struct option_row *row)
{
    char *before = source->options->warnings;
    source->options->warnings =
        xasprintf("%s%s; passed over (option %s)\n", before ? before : "", source->reason, row->key);
    free(before);
    free(source->reason);
    source->reason = NULL;
}

/* Comes last before the defaults: an overridden alias is ignored, since it may be meant for another
 * program. */
static bool load_aliases(struct source *source)
{
    source->origin = (struct option_origin){.source = OPTION_ENVIRONMENT, .alias = true};
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_IDS; row++) {
        const char *value = *row->alias ? getenv(row->alias) : NULL;
        bool overridden = source->options->origin[row - option_rows].source > OPTION_FILE;
        if (value == NULL || *value == '\0' || overridden || set(source, span_of(row->alias), span_of(value)))
            continue;
        if (!(row->flags & OPTION_SHARED))
            return false;
        warn(source, row);
    }
    return true;
}

/* ---- flags ------------------------------------------------------------------------------------ */

struct flags {
    int argc;
    char **argv;
    int at;
    const struct option_flag *own; /* of the command */
    const char *config;            /* --config */
    struct setting {
        struct span name, value;
    } * settings; /* the settings found */
    size_t count;
    struct source source;
};

/* Whether a URL has a password in it. */
static bool has_password(struct span url)
{
    const char *slashes = memmem(url.p, url.n, "://", 3);
    struct span rest = slashes ? span_of(slashes + 3) : SPAN_NONE, login = span_cut(&rest, '@');
    if (memmem(url.p, url.n, "_password=", 10))
        return true;
    return rest.p && memchr(login.p, ':', login.n);
}

static const struct option_flag *find_own(const struct flags *flags, struct span name)
{
    for (const struct option_flag *own = flags->own; own && own->name; own++)
        if (span_is(name, own->name))
            return own;
    return NULL;
}

/* Takes the value of a flag: the text after its '=', else the next word. False if there is none. */
static bool take_value(struct flags *flags, bool optional, struct span *value)
{
    const char *next = flags->at < flags->argc ? flags->argv[flags->at] : NULL;
    if (value->p)
        return true;
    if (optional && (next == NULL || next[0] == '-')) {
        *value = SPAN("true"); /* `--diagnostics` alone */
        return true;
    }
    if (next == NULL || strncmp(next, "--", 2) == 0) /* a value that begins like this needs --flag=value */
        return false;
    *value = span_of(next);
    flags->at++;
    return true;
}

static bool take_own(struct flags *flags, const struct option_flag *own, struct span value)
{
    if (own->given)
        *own->given = true;
    if (own->word == NULL)
        return value.p == NULL ||
               refuse(&flags->source, SPAN_NONE, xasprintf("%s takes no value", own->name));
    if (!take_value(flags, false, &value))
        return refuse(&flags->source, SPAN_NONE, xasprintf("%s needs a value", own->name));
    if (own->value->len)
        own->value->data[own->value->len - 1] = ',';
    buf_append(own->value, value.p, value.n + 1);
    return true;
}

/* Takes the flag at flags->at; moves past it and its value. */
static bool take_flag(struct flags *flags)
{
    struct span value = span_of(flags->argv[flags->at++]), name = span_cut(&value, '=');
    const struct option_row *row = option_find(name, OPTION_FLAG);
    const struct option_flag *own = find_own(flags, name);
    bool config = span_is(name, "--config");
    if (own)
        return take_own(flags, own, value);
    if (row == NULL && !config && !span_begins(name, "--routes-"))
        return refuse(&flags->source, name, unknown(&flags->source, name));
    if (!take_value(flags, row && row->kind == KIND_OPTION_BOOL, &value))
        return refuse(&flags->source, name, xstrdup("needs a value"));
    if (row && row->flags & OPTION_SECRET && has_password(value))
        return refuse(&flags->source, name,
                      xstrdup("a password on the command line can be read by every user of the "
                              "machine; put it into the environment or the file"));
    if (config)
        flags->config = value.p;
    else
        flags->settings[flags->count++] = (struct setting){name, value};
    return true;
}

/* Parses the command line up to the first word that is not a flag, without setting anything: --config must
 * be known first. */
static bool take_flags(struct flags *flags)
{
    for (flags->at = 1; flags->at < flags->argc && strncmp(flags->argv[flags->at], "--", 2) == 0;) {
        if (flags->argv[flags->at][2] == '\0') {
            flags->at++;
            break;
        }
        if (!take_flag(flags))
            return false;
    }
    return true;
}

static bool load_flags(const struct flags *flags, struct source *source)
{
    source->origin = flags->source.origin;
    for (size_t i = 0; i < flags->count; i++)
        if (!set(source, flags->settings[i].name, flags->settings[i].value))
            return false;
    return true;
}

/* ---- all together ----------------------------------------------------------------------------- */

/* The data directory when none is configured; docs/configuration.md promises this order. */
static char *default_data_dir(const struct options *options)
{
    const char *state = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && *state)
        return xstrndup(state, strcspn(state, ":")); /* systemd may list several */
    if (*options->user && geteuid() == 0)
        return xstrdup("/var/lib/taskhub"); /* below, directories are root's own */
    if (xdg && *xdg == '/')
        return xasprintf("%s/taskhub", xdg);
    if (home && *home)
        return xasprintf("%s/.local/state/taskhub", home);
    return xstrdup("/var/lib/taskhub");
}

static bool load_all(struct options *options, struct flags *flags, char **ret_reason)
{
    const char *config = getenv("TASKHUB_CONFIG");
    struct source source = {.options = options};
    bool fine = take_flags(flags); /* report mistakes of the command line first */
    if (flags->config == NULL && config && *config)
        flags->config = config;
    fine = fine && load_file(&source, flags->config) && load_environment(&source) &&
           load_flags(flags, &source) && load_aliases(&source);
    *ret_reason = source.reason ? source.reason : flags->source.reason;
    if (!fine)
        return false;
    option_fill_defaults(options);
    if (*options->data_dir == '\0') {
        free(options->data_dir);
        options->data_dir = default_data_dir(options);
    }
    const char *clash = option_check_together(options);
    *ret_reason = clash ? xstrdup(clash) : NULL;
    return clash == NULL;
}

bool options_load(struct options *ret, int argc, char **argv, const struct option_flag *own, int *ret_rest,
                  char **ret_reason)
{
    struct options options = {0};
    struct flags flags = {.argc = argc, .argv = argv, .own = own, .source.origin.source = OPTION_FLAG};
    flags.settings = xcalloc((size_t)argc, sizeof *flags.settings);
    bool fine = load_all(&options, &flags, ret_reason);
    free(flags.settings);
    *ret = options;
    *ret_rest = flags.at;
    if (!fine)
        options_free(ret);
    return fine;
}

void options_free(struct options *options)
{
    for (size_t i = 0; i < OPTION_IDS; i++)
        if (option_rows[i].kind == KIND_OPTION_STRING)
            free(*(char **)(void *)((char *)options + option_rows[i].offset));
    free(options->routes);
    free(options->config_path);
    free(options->warnings);
    memset(options, 0, sizeof *options);
}
