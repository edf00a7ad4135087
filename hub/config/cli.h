/* SPDX-License-Identifier: MIT */
/* The command line around the options of options.def: subcommands, their own flags, help, version.
 * Runs at start only, on the main thread; prints to stdout and stderr. */
#pragma once

#include "hub/config/options.h"

enum { EXIT_FINE = 0, EXIT_TROUBLE = 1, EXIT_USAGE = 2 };

struct cli_flag {     /* a flag of one subcommand */
    const char *name; /* "--user" */
    const char *word; /* how --help names its value; NULL = it takes none */
    const char *help;
    struct buf *value; /* with word: the values given, joined by commas, NUL-terminated once given */
    bool *given;
};
struct cli_command {
    const char *name, *summary, *usage;
    const struct cli_flag *flags;
    size_t flag_count;
    bool options; /* takes the options of options.def */
};

/* Prints "taskhub: reason" and a hint, frees `reason`, returns EXIT_USAGE. */
int cli_usage_error(const struct cli_command *command, char *reason);
/* Prepares a subcommand: handles --help and --version, takes its own flags out of argv, loads the
 * options, sets the log up. argv[0] is the program or the subcommand. False when the program shall end
 * with *ret_exit now. */
bool cli_begin(const struct cli_command *command, int argc, char **argv, struct options *ret,
               int *ret_exit) MUSTCHECK;
/* "90s", "15m", "1h", "7d" or seconds; -1 if it is none of these or beyond ten years. */
int64_t cli_duration_s(const char *text);
