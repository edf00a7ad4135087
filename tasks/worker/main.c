/* SPDX-License-Identifier: MIT */
/* taskhub-worker: decides whether this process is the worker's parent or, started by one, a prefork parent
 * (tasks/runner/slots/prefork.h). */
#include "hub/base/file.h"
#include "hub/base/log.h"
#include "hub/base/user.h"
#include "hub/config/cli.h"
#include "hub/config/run_as.h"
#include "tasks/runner/slots/prefork.h"
#include "tasks/store/schema.h"
#include "tasks/types.h"
#include "tasks/worker/worker.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>

static const struct cli_command worker_command = {
    .program = "taskhub-worker",
    .name = "taskhub-worker",
    .summary = "Runs the heavy tasks of a queue in Redis (redis.url), in processes of their own.\n"
               "SIGTERM ends it when the running tasks have ended (worker.drain_s).",
    .usage = "taskhub-worker [options]",
};

/* False and *ret_reason (free()) if the user for the command of the engine exec does not exist. */
static bool has_exec_user(const struct options *options, char **ret_reason)
{
    struct user user;
    const char *name = options->speech_exec_user;
    if (*name == '\0' || user_find(name, &user))
        return true;
    *ret_reason = xasprintf("option speech.exec_user: there is no user %s", name);
    return false;
}

/* Returns the exit code. */
static int run(const struct options *options)
{
    char *reason CLEANUP(free_char) = NULL;
    if (*options->redis_url == '\0') {
        fprintf(stderr,
                "taskhub-worker: redis.url is not set (REDIS_URL, --redis-url); a hub without one starts "
                "its worker itself\n");
        return EXIT_USAGE;
    }
    const char *warning = run_as_warn(options);
    if (warning)
        log_warn(warning);
    if (has_exec_user(options, &reason) && run_as(options, false, &reason) && store_prepare(options, &reason))
        return worker_run(options, TASKHUB_VERSION);
    fprintf(stderr, "taskhub-worker: %s\n", reason);
    return EXIT_TROUBLE;
}

int main(int argc, char **argv)
{
    struct options options;
    int code;
    file_keep_private();
    task_types_use(builtin_task_types);
    if (argc >= 2 && strcmp(argv[1], PREFORK_WORD) == 0)
        return prefork_main(argv + 2);
    if (sodium_init() < 0)
        return EXIT_TROUBLE;
    if (!cli_begin(&worker_command, argc, argv, &options, &code))
        return code;
    signal(SIGPIPE, SIG_IGN);
    code = run(&options);
    options_free(&options);
    return code;
}
