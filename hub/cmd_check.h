/* SPDX-License-Identifier: MIT */
/* `taskhub check`: whether configuration, keys, database and Redis are fit for a hub. Main thread. */
#pragma once

/* argv[0] is the subcommand. Exit code: 0 fit, 1 something is wrong, 2 the configuration is. */
int cmd_check(int argc, char **argv);
