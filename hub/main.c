/* SPDX-License-Identifier: MIT */
/* taskhub: the subcommands. */
#include "hub/base/file.h"
#include "hub/commands.h"
#include "hub/config/cli.h"
#include "tasks/types.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"serve", cmd_serve},
                {"token", cmd_token},
                {"check", cmd_check},
                {"config", cmd_config},
                {"speech", cmd_speech}};

static int run_command(int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-')
        return cmd_serve(argc, argv);
    for (size_t i = 0; i < NELEMS(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr,
            "taskhub: unknown command %s; there are serve, token, check, config, speech, and --help\n",
            argv[1]);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    file_keep_private();
    signal(SIGPIPE, SIG_IGN);
    if (sodium_init() < 0)
        abort();
    task_types_use(builtin_task_types);
    int code = run_command(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    perror("taskhub: standard output");
    return code ? code : EXIT_TROUBLE;
}
