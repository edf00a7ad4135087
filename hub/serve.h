/* SPDX-License-Identifier: MIT */
/* `taskhub serve`. Main thread. */
#pragma once

/* argv[0] is the subcommand, or the program's name. Runs until the hub has drained; the exit code. */
int cmd_serve(int argc, char **argv);
