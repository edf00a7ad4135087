/* SPDX-License-Identifier: MIT */
/* taskhub-worker: the command line. Decides whether this process is the worker's parent or, started by one, a
 * prefork parent (tasks/runner/slots/prefork.h). Main thread. */
#include "hub/base/log.h"
#include "tasks/runner/slots/prefork.h"
#include "tasks/store/schema.h"
#include "tasks/types.h"
#include "tasks/worker/worker.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>

static int print_help(void)
{
    struct buf text CLEANUP(buf_free) = BUF_INIT;
    buf_append_text(&text, "usage: taskhub-worker [options]\n\nRuns the heavy tasks of a queue in Redis "
                           "(redis.url), in processes of their own.\nSIGTERM ends it when the running tasks "
                           "have ended (worker.drain_s).\n\n  --help, --version\n      this text; the "
                           "version\n\n");
    options_help(&text);
    fwrite(text.data, 1, text.len, stdout);
    return 0;
}

static bool has_word(int argc, char **argv, const char *word, const char *other)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], word) == 0 || strcmp(argv[i], other) == 0)
            return true;
    return false;
}

static int complain(char *reason, int code)
{
    fprintf(stderr, "taskhub-worker: %s\n", reason);
    free(reason);
    return code;
}

/* Runs the worker with its options; gives the exit code. */
static int run(const struct options *options)
{
    char name[WORKER_NAME_SIZE], *reason = NULL;
    if (*options->redis_url == '\0')
        return complain(
            xstrdup(
                "redis.url is not set (REDIS_URL, --redis-url); a hub without one starts its worker itself"),
            2);
    if (!worker_claim_name(options, name, &reason) || !store_prepare(options, &reason))
        return complain(reason, 1);
    return worker_run(options, name, TASKHUB_VERSION);
}

int main(int argc, char **argv)
{
    struct options options;
    char *reason = NULL;
    int rest;
    task_types_use(builtin_task_types);
    if (argc >= 2 && strcmp(argv[1], PREFORK_WORD) == 0)
        return prefork_main(argv[2]);
    if (has_word(argc, argv, "--help", "-h"))
        return print_help();
    if (has_word(argc, argv, "--version", "-V")) {
        printf("taskhub-worker %s\n", TASKHUB_VERSION);
        return 0;
    }
    if (sodium_init() < 0)
        return 1;
    if (!options_load(&options, argc, argv, &rest, &reason))
        return complain(reason, 2);
    log_setup("taskhub-worker", options.log_level, options.log_format);
    signal(SIGPIPE, SIG_IGN);
    int code = 2;
    if (rest < argc)
        fprintf(stderr, "taskhub-worker: unexpected argument: %s\n", argv[rest]);
    else
        code = run(&options);
    options_free(&options);
    return code;
}
