/* SPDX-License-Identifier: MIT */
/* `taskhub token` and `taskhub config`; see commands.h. */
#include "hub/commands.h"

#include "hub/auth/keyfile.h"
#include "hub/config/cli.h"
#include "hub/process.h"

#include <stdio.h>

/* ---- token -------------------------------------------------------------------------------------- */

static struct buf user_text, role_text, ttl_text;

static const struct option_flag token_flags[] = {
    {"--user", "ID", "owner id the token is for: 1 to 255 bytes of UTF-8 (required)", &user_text, NULL},
    {"--role", "ROLE", "admin or viewer; may be given twice", &role_text, NULL},
    {"--ttl", "TIME", "how long it is valid: 90s, 15m, 1h, 7d [1h]", &ttl_text, NULL},
    {.name = NULL},
};
static const struct cli_command token_command = {
    .program = "taskhub",
    .name = "taskhub token",
    .summary = "Prints one signed token and nothing else. Reads the same configuration as `taskhub serve`.",
    .usage = "taskhub token --user ID [--role ROLE] [--ttl TIME] [option…]\n"
             "       taskhub token revoke (JTI | TOKEN) [option…]",
    .flags = token_flags,
};

/* The role bits of "admin,viewer"; 0 of "". False if a word is no role. */
static bool parse_roles(const char *text, unsigned *ret)
{
    struct span rest = *text ? span_of(text) : SPAN_NONE;
    for (*ret = 0; rest.p;) {
        struct span word = span_cut(&rest, ',');
        unsigned role = 0;
        for (unsigned i = 0; i < ROLES; i++)
            role |= span_is(word, role_names[i]) ? 1u << i : 0;
        if (role == 0)
            return false;
        *ret |= role;
    }
    return true;
}

static int print_token(const struct options *options, const char *user, unsigned roles, int64_t ttl_s)
{
    char *reason = NULL;
    if (keyfile_missing(options, &reason)) {
        fprintf(stderr, "taskhub: %s\n", reason);
        free(reason);
        return EXIT_TROUBLE;
    }
    struct keyring *ring = keyfile_load(options, &reason);
    char *token CLEANUP(free_char) = ring ? process_token(options, ring, user, roles, ttl_s) : NULL;
    if (ring && token == NULL)
        reason = xstrdup("the key file holds public keys only, so nothing can be signed with it");
    keyring_free(&ring);
    if (reason)
        return cli_usage_error(&token_command, reason);
    puts(token);
    return EXIT_FINE;
}

int cmd_token(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "revoke") == 0)
        return cmd_token_revoke(argc - 1, argv + 1);
    struct options options;
    unsigned roles;
    int code;
    char owner[OWNER_SIZE];
    if (!cli_begin(&token_command, argc, argv, &options, &code))
        return code;
    const char *user = user_text.len ? user_text.data : "", *wrong = NULL;
    int64_t ttl_s = cli_duration_s(ttl_text.len ? ttl_text.data : "1h");
    if (*user == '\0')
        wrong = "--user is required";
    else if (!owner_encode(span_of(user), owner))
        wrong = "--user: an owner id is 1 to 255 bytes of UTF-8 without control characters";
    else if (!parse_roles(role_text.len ? role_text.data : "", &roles))
        wrong = "--role: must be admin or viewer";
    else if (ttl_s < 1)
        wrong = "--ttl: must be a time like 90s, 15m, 1h or 7d";
    else if (ttl_s > options.auth_max_ttl_s)
        wrong = "--ttl: must not be longer than auth.max_ttl, beyond which no hub takes a token";
    code =
        wrong ? cli_usage_error(&token_command, xstrdup(wrong)) : print_token(&options, user, roles, ttl_s);
    buf_free(&user_text);
    buf_free(&role_text);
    buf_free(&ttl_text);
    options_free(&options);
    return code;
}

/* ---- config ------------------------------------------------------------------------------------- */

static bool document;

static const struct option_flag config_flags[] = {
    {"--document", NULL, "print the reference of all options as a Markdown table instead", NULL, &document},
    {.name = NULL},
};
static const struct cli_command config_command = {
    .program = "taskhub",
    .name = "taskhub config",
    .summary = "Prints the configuration that is in effect and where each value comes from.",
    .usage = "taskhub config [--document] [option…]",
    .flags = config_flags,
};

int cmd_config(int argc, char **argv)
{
    struct options options;
    struct buf text CLEANUP(buf_free) = BUF_INIT;
    int code;
    if (!cli_begin(&config_command, argc, argv, &options, &code))
        return code;
    if (document)
        options_document(&text);
    else
        options_print(&options, &text);
    fwrite(text.data, 1, text.len, stdout);
    options_free(&options);
    return code;
}
