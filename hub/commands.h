/* SPDX-License-Identifier: MIT */
/* The subcommands that need neither a loop nor tasks. Main thread; each returns the exit code. argv[0]
 * is the subcommand. */
#pragma once

int cmd_token(int argc, char **argv);  /* prints one signed token */
int cmd_config(int argc, char **argv); /* prints the effective configuration, or the reference page */
