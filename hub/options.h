/* Configuration: one table (options.def) gives the parser, the environment names, --help, the printed
 * effective configuration and the struct below. Flag > environment > file > default. Read once at
 * start, immutable afterwards; any thread. */
#pragma once

#include "hub/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct options {
#define OPTION_STRING(key, member, default_, flags, alias, help) char *member;
#define OPTION_INT(key, member, default_, min, max, flags, alias, help) int64_t member;
#define OPTION_BOOL(key, member, default_, flags, alias, help) bool member;
#include "hub/options.def"
#undef OPTION_STRING
#undef OPTION_INT
#undef OPTION_BOOL
    char *routes;      /* of all `routes.<type> = <executor>` lines: "\ntype=executor\n…" */
    char *config_path; /* the file that was read, NULL if none */
};

/* Fills *ret from argv (options only; what is left over goes to *ret_rest as an index), environment
 * and file. False and *ret_reason (free()), which names file, line, key and the nearest valid key. */
bool options_load(struct options *ret, int argc, char **argv, int *ret_rest, char **ret_reason) MUSTCHECK;
void options_free(struct options *options);
/* The executor configured for a task type, NULL if none. `buf` receives the word. */
const char *options_route(const struct options *options, const char *type, char buf[static 32]);
/* Appends `key = value` lines with the origin of each; secrets are redacted. */
void options_print(const struct options *options, struct buf *to);
/* Appends the option part of --help. */
void options_help(struct buf *to);
/* Appends the reference page docs/configuration.md is made of. */
void options_document(struct buf *to);
/* Parses a configuration file's text (for the fuzz target and options_load()); false and reason. */
bool options_parse_file(struct options *options, const char *name, struct span text,
                        char **ret_reason) MUSTCHECK;
