/* SPDX-License-Identifier: MIT */
/* Configuration. One table (options.def) defines the names in file, environment and command line, --help,
 * what is printed, and the struct below. A flag beats the environment, which beats the file, which beats
 * the default. Read once at start, immutable afterwards; any thread. */
#pragma once

#include "hub/base/buf.h"
#include "hub/base/child.h"

#include <stdbool.h>
#include <stdint.h>

#define OPTION_SECRET 1 /* may hold a password: redacted when printed */
#define OPTION_SHARED 2 /* other programs read its alias, too: an unusable value there is ignored */

enum option_id {
#define OPTION_STRING(key, member, default_, flags, alias, help) OPTION_ID_##member,
#define OPTION_INT(key, member, default_, min, max, flags, alias, help) OPTION_ID_##member,
#define OPTION_BOOL(key, member, default_, flags, alias, help) OPTION_ID_##member,
#include "hub/config/options.def"
    OPTION_IDS,
};

enum option_source { OPTION_DEFAULT, OPTION_FILE, OPTION_ENVIRONMENT, OPTION_FLAG };
struct option_origin {
    enum option_source source;
    unsigned line; /* OPTION_FILE */
    bool alias;    /* OPTION_ENVIRONMENT: set by the alias */
};

struct options {
#define OPTION_STRING(key, member, default_, flags, alias, help) char *member;
#define OPTION_INT(key, member, default_, min, max, flags, alias, help) int64_t member;
#define OPTION_BOOL(key, member, default_, flags, alias, help) bool member;
#include "hub/config/options.def"
    char *routes;      /* all values of `routes.<type>`: */
    char *config_path; /* the file read, NULL if none */
    char *warnings;    /* what was ignored, a line each; NULL if nothing */
    struct option_origin origin[OPTION_IDS];
};

struct option_flag {  /* a flag of a single command */
    const char *name; /* "--user"; NULL ends a list of them */
    const char *word; /* name of its value in --help; NULL = it takes none */
    const char *help;
    struct buf *value; /* with word: the values given, joined by commas, NUL-terminated once given */
    bool *given;       /* or NULL */
};

/* Fills *ret from argv[1…], environment and file. An overridden alias is ignored. The command's own flags
 * (may be NULL) store their values as they say. *ret_rest: the index of the first argument that is not a
 * flag, or argc. False and *ret_reason (free()), which names file, line, key and the nearest valid key;
 * *ret is then empty. */
bool options_load(struct options *ret, int argc, char **argv, const struct option_flag *own, int *ret_rest,
                  char **ret_reason) MUSTCHECK;
/* Frees the texts; all zero is fine. */
void options_free(struct options *options);
/* Makes a name valid for hub.name or worker.name: replaces illegal characters by '-'. */
void options_clean_name(char *name);
/* Appends a line `key = value # origin` for each option; secrets are redacted. */
void options_print(const struct options *options, struct buf *to);
/* Appends the options as --help shows them. */
void options_help(struct buf *to);
/* Appends the table of all options that docs/configuration.md holds. */
void options_document(struct buf *to);
/* Applies the text of a configuration file to options that are all zero. False and *ret_reason (free()),
 * which begins with `name`. For options_load() and tests. */
bool options_parse_file(struct options *options, const char *name, struct span text,
                        char **ret_reason) MUSTCHECK;
/* Adds the variables that pass the options given by flag on to a child process. */
void options_export(const struct options *options, struct child_env *to);
