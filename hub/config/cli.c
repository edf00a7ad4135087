/* SPDX-License-Identifier: MIT */
/* Subcommand flags, help and version; see cli.h. */
#include "hub/config/cli.h"

#include "hub/base/log.h"
#include "hub/config/options_table.h"

#include <ctype.h>
#include <stdio.h>

#define DURATION_MAX_S 315360000 /* ten years */

int cli_usage_error(const struct cli_command *command, char *reason)
{
    fprintf(stderr, "taskhub: %s\nSee `taskhub %s --help`.\n", reason, command->name);
    free(reason);
    return EXIT_USAGE;
}

static void print_help(const struct cli_command *command)
{
    struct buf text CLEANUP(buf_free) = BUF_INIT;
    buf_printf(&text, "usage: %s\n\n%s\n\n", command->usage, command->summary);
    if (command->flag_count)
        buf_append_text(&text, "Flags of this command:\n");
    for (size_t i = 0; i < command->flag_count; i++) {
        const struct cli_flag *flag = &command->flags[i];
        buf_printf(&text, "  %s%s%s\n      %s\n", flag->name, flag->word ? " " : "",
                   flag->word ? flag->word : "", flag->help);
    }
    buf_append_text(&text, "  --help, --version\n      this text; the version\n\n");
    if (command->options)
        options_help(&text);
    fwrite(text.data, 1, text.len, stdout);
}

/* Whether argv[at] is this flag, alone or with "=value". */
static bool is_flag(const char *argument, const struct cli_flag *flag)
{
    size_t n = strlen(flag->name);
    return strncmp(argument, flag->name, n) == 0 && (argument[n] == '\0' || argument[n] == '=');
}

/* Takes the value of a flag at argv[at]. How many words were used, 0 and *ret_reason when it is wrong. */
static int take_flag(const struct cli_flag *flag, int argc, char **argv, int at, char **ret_reason)
{
    const char *value = strchr(argv[at], '=');
    int used = 1;
    if (flag->word == NULL && value) {
        *ret_reason = xasprintf("%s takes no value", flag->name);
        return 0;
    }
    if (flag->given)
        *flag->given = true;
    if (flag->word == NULL)
        return 1;
    if (value == NULL && at + 1 < argc && strncmp(argv[at + 1], "--", 2) != 0)
        used = 2;
    value = value ? value + 1 : used == 2 ? argv[at + 1] : NULL;
    if (value == NULL) {
        *ret_reason = xasprintf("%s needs a value", flag->name);
        return 0;
    }
    if (flag->value->len)
        flag->value->data[flag->value->len - 1] = ',';
    buf_append(flag->value, value, strlen(value) + 1);
    return used;
}

/* Moves the flags of the command out of argv; the rest keeps its order. False and *ret_reason. */
static bool take_flags(const struct cli_command *command, int *argc, char **argv, char **ret_reason)
{
    int kept = 1;
    for (int at = 1; at < *argc;) {
        const struct cli_flag *flag = NULL;
        for (size_t i = 0; i < command->flag_count && flag == NULL; i++)
            if (is_flag(argv[at], &command->flags[i]))
                flag = &command->flags[i];
        if (flag == NULL) {
            argv[kept++] = argv[at++];
            continue;
        }
        int used = take_flag(flag, *argc, argv, at, ret_reason);
        if (used == 0)
            return false;
        at += used;
    }
    *argc = kept;
    return true;
}

static bool has_word(int argc, char **argv, const char *word, const char *other)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], word) == 0 || strcmp(argv[i], other) == 0)
            return true;
    return false;
}

bool cli_begin(const struct cli_command *command, int argc, char **argv, struct options *ret, int *ret_exit)
{
    char *reason = NULL;
    int rest = argc;
    *ret_exit = EXIT_FINE;
    if (has_word(argc, argv, "--help", "-h")) {
        print_help(command);
        return false;
    }
    if (has_word(argc, argv, "--version", "-V")) {
        printf("taskhub %s\n", TASKHUB_VERSION);
        return false;
    }
    bool fine = take_flags(command, &argc, argv, &reason) && options_load(ret, argc, argv, &rest, &reason);
    if (fine && rest < argc) {
        reason = xasprintf("unexpected argument: %s", argv[rest]);
        options_free(ret);
        fine = false;
    }
    if (!fine) {
        *ret_exit = cli_usage_error(command, reason);
        return false;
    }
    log_setup("taskhub", ret->log_level, ret->log_format);
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
