/* SPDX-License-Identifier: MIT */
/* The command line around the options of options.def: commands, their own flags, help, version. Prints to
 * stdout and stderr. Main thread, at start. */
#pragma once

#include "hub/config/options.h"

enum { EXIT_FINE = 0, EXIT_TROUBLE = 1, EXIT_USAGE = 2 };

struct cli_command {
    const char *program, *name; /* "taskhub", "taskhub check" */
    const char *summary, *usage;
    const struct option_flag *flags; /* the command's own; NULL = none */
};

/* Prints "PROGRAM: reason" and where help is, frees `reason`, returns EXIT_USAGE. */
int cli_usage_error(const struct cli_command *command, char *reason);
/* Prepares a command: handles --help and --version, loads its options and flags, sets up the log. argv[0]
 * is the program or the subcommand. False if the program should end with *ret_exit now. */
bool cli_begin(const struct cli_command *command, int argc, char **argv, struct options *ret,
               int *ret_exit) MUSTCHECK;
/* Returns the seconds of "90s", "15m", "1h", "7d" or "90"; -1 if it is none of these or beyond ten years. */
int64_t cli_duration_s(const char *text);
