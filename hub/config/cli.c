/* SPDX-License-Identifier: MIT */
/* Help, version and mistakes of a command line; see cli.h. Main thread, at start. */
#include "hub/config/cli.h"

#include "hub/base/log.h"

#include <stdio.h>

#define DURATION_MAX_S 315360000 /* ten years */

int cli_usage_error(const struct cli_command *command, char *reason)
{
    fprintf(stderr, "%s: %s\nSee `%s --help`.\n", command->program, reason, command->name);
    free(reason);
    return EXIT_USAGE;
}

static void print_help(const struct cli_command *command)
{
    struct buf text CLEANUP(buf_free) = BUF_INIT;
    buf_printf(&text, "usage: %s\n\n%s\n\n", command->usage, command->summary);
    if (command->flags)
        buf_append_text(&text, "Flags of this command:\n");
    for (const struct option_flag *flag = command->flags; flag && flag->name; flag++)
        buf_printf(&text, "  %s%s%s\n      %s\n", flag->name, flag->word ? " " : "",
                   flag->word ? flag->word : "", flag->help);
    buf_append_text(&text, "  --help, --version\n      this text; the version\n\n");
    options_help(&text);
    fwrite(text.data, 1, text.len, stdout);
}

static bool has_word(int argc, char **argv, const char *word, const char *other)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], word) == 0 || strcmp(argv[i], other) == 0)
            return true;
    return false;
}

static void say_warnings(const struct options *options)
{
    struct span lines = span_of(options->warnings ? options->warnings : "");
    while (lines.n) {
        char text[256];
        struct span line = span_cut(&lines, '\n');
        snprintf(text, sizeof text, "%.*s", SPAN_ARG(line));
        log_warn("a variable of the environment is of no use here", "variable", text);
    }
}

bool cli_begin(const struct cli_command *command, int argc, char **argv, struct options *ret, int *ret_exit)
{
    char *reason = NULL;
    int rest;
    *ret_exit = EXIT_FINE;
    if (has_word(argc, argv, "--help", "-h")) {
        print_help(command);
        return false;
    }
    if (has_word(argc, argv, "--version", "-V")) {
        printf("%s %s\n", command->program, TASKHUB_VERSION);
        return false;
    }
    if (options_load(ret, argc, argv, command->flags, &rest, &reason) && rest < argc) {
        reason = xasprintf("unexpected argument: %s", argv[rest]);
        options_free(ret);
    }
    if (reason) {
        *ret_exit = cli_usage_error(command, reason);
        return false;
    }
    log_setup(command->program, ret->log_level, ret->log_format);
    say_warnings(ret);
    return true;
}

int64_t cli_duration_s(const char *text)
{
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 9)
        return -1;
    int64_t number = strtol(text, NULL, 10);
    for (size_t i = 0; i < NELEMS(units); i++)
        if (strcmp(text + digits, units[i].unit) == 0)
            return number * units[i].seconds <= DURATION_MAX_S ? number * units[i].seconds : -1;
    return -1;
}
