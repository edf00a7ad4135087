/* SPDX-License-Identifier: MIT */
/* The subcommands. Main thread; each returns the exit code. argv[0] is the subcommand, or the program's name.
 */
#pragma once

int cmd_serve(int argc, char **argv); /* runs a hub until it has drained */
int cmd_check(int argc, char **argv); /* 0: fit for a hub, 1: something is wrong, 2: the configuration is */
int cmd_token(int argc, char **argv); /* prints one signed token */
int cmd_token_revoke(int argc, char **argv); /* revokes a token */
int cmd_speech(int argc, char **argv);       /* brings the engine moonshine */
int cmd_config(int argc, char **argv);       /* prints the effective configuration, or the reference page */
