/* SPDX-License-Identifier: MIT */
/* `taskhub token` and `taskhub config`; see commands.h. */
#include "hub/commands.h"

#include "hub/auth/keyfile.h"
#include "hub/base/clock.h"
#include "hub/config/cli.h"

#include <stdio.h>

/* ---- token -------------------------------------------------------------------------------------- */

static struct buf user_text, role_text, ttl_text;

static const struct option_flag token_flags[] = {
    {"--user", "ID", "owner id the token is for: 1 to 128 of A-Z a-z 0-9 . _ @ + - (required)", &user_text,
     NULL},
    {"--role", "ROLE", "admin or viewer; may be given twice", &role_text, NULL},
    {"--ttl", "TIME", "how long it is valid: 90s, 15m, 1h, 7d [1h]", &ttl_text, NULL},
    {.name = NULL},
};
static const struct cli_command token_command = {
    .program = "taskhub",
    .name = "taskhub token",
    .summary = "Prints one signed token and nothing else. Reads the same configuration as `taskhub serve`.",
    .usage = "taskhub token --user ID [--role ROLE] [--ttl TIME] [option…]",
    .flags = token_flags,
};

/* The role bits of "admin,viewer"; -1 if a word is neither. */
static int parse_roles(const char *text)
{
    int roles = 0;
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, ",");
        struct span word = {at, n};
        if (!span_is(word, "admin") && !span_is(word, "viewer"))
            return -1;
        roles |= span_is(word, "admin") ? ROLE_ADMIN : ROLE_VIEWER;
        at += n + (at[n] == ',');
    }
    return roles;
}

static int print_token(const struct options *options, struct auth_claims *claims)
{
    char *reason = NULL;
    if (keyfile_missing(options, &reason)) {
        fprintf(stderr, "taskhub: %s\n", reason);
        free(reason);
        return EXIT_TROUBLE;
    }
    struct keyring *ring = keyfile_load(options, &reason);
    if (ring == NULL)
        return cli_usage_error(&token_command, reason);
    char *token = auth_sign(ring, claims);
    keyring_free(&ring);
    if (token == NULL)
        return cli_usage_error(
            &token_command, xstrdup("the key file holds public keys only, so nothing can be signed with it"));
    puts(token);
    free(token);
    return EXIT_FINE;
}

int cmd_token(int argc, char **argv)
{
    struct options options;
    int code;
    if (!cli_begin(&token_command, argc, argv, &options, &code))
        return code;
    const char *user = user_text.len ? user_text.data : "";
    int roles = parse_roles(role_text.len ? role_text.data : "");
    int64_t ttl = cli_duration_s(ttl_text.len ? ttl_text.data : "1h"), now = clock_wall_ms() / 1000;
    struct auth_claims claims = {
        .user_id = user,
        .audience = options.auth_audience,
        .issuer = *options.auth_issuer ? options.auth_issuer : NULL,
        .roles = (unsigned)roles,
        .issued_at = now,
        .expires_at = now + ttl,
    };
    if (!auth_user_id_valid(span_of(user)))
        code = cli_usage_error(&token_command,
                               xstrdup(*user ? "--user: an owner id is 1 to 128 of A-Z a-z 0-9 . _ @ + -"
                                             : "--user is required"));
    else if (roles < 0)
        code = cli_usage_error(&token_command, xstrdup("--role: must be admin or viewer"));
    else if (ttl < 1)
        code = cli_usage_error(&token_command, xstrdup("--ttl: must be a time like 90s, 15m, 1h or 7d"));
    else
        code = print_token(&options, &claims);
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
