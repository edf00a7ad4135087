/* SPDX-License-Identifier: MIT */
/* Descriptors, name, tokens, the first word to the operator; see process.h. */
#include "hub/process.h"

#include "hub/auth/keyfile.h"
#include "hub/base/clock.h"
#include "hub/base/id.h"
#include "hub/base/log.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define OWN_DESCRIPTORS 1024 /* besides connections: databases, Redis, files, pipes */
#define DEFAULT_NAME_SIZE 58 /* as long as its worker's name may be, without "-worker" */
#define DEMO_TTL_S (12 * 3600)

void process_raise_descriptors(const struct options *options)
{
    struct rlimit limit;
    rlim_t want = (rlim_t)options->connections + OWN_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
        return;
    limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn("the limit of descriptors cannot be raised", "limit", LOG_NUM(limit.rlim_max));
}

void process_name(const struct options *options, const char *address, char name[static PROCESS_NAME_SIZE])
{
    char host[ID_HOST_SIZE];
    const char *port = strrchr(address, ':');
    if (*options->hub_name) {
        snprintf(name, PROCESS_NAME_SIZE, "%s", options->hub_name);
        return;
    }
    id_host(host);
    snprintf(name, DEFAULT_NAME_SIZE, "%s%s", host, port ? port : address);
    options_clean_name(name);
}

char *process_token(const struct options *options, const struct keyring *ring, const char *user_id,
                    unsigned roles, int64_t ttl_s)
{
    int64_t now = clock_wall_ms() / 1000;
    const struct auth_claims claims = {
        .user_id = user_id,
        .audience = options->auth_audience,
        .issuer = *options->auth_issuer ? options->auth_issuer : NULL,
        .roles = roles,
        .issued_at = now,
        .expires_at = now + ttl_s,
    };
    return auth_sign(ring, &claims);
}

static void print_demo_link(const struct options *options, const struct keyring *ring, const char *address)
{
    int64_t ttl_s = options->auth_max_ttl_s < DEMO_TTL_S ? options->auth_max_ttl_s : DEMO_TTL_S;
    char *token = process_token(options, ring, "demo", ROLE_ADMIN, ttl_s);
    if (token)
        printf("\n  Open http://%s/#token=%s\n\n", address, token);
    fflush(stdout);
    free(token);
}

/* Whether only this machine reaches the address. Of names localhost alone is known to be such. */
static bool on_loopback(const char *address)
{
    return strncmp(address, "localhost:", 10) == 0 || strncmp(address, "[::1]:", 6) == 0 ||
           (strncmp(address, "127.", 4) == 0 && strspn(address, "0123456789.:") == strlen(address));
}

void process_announce(const struct options *options, const struct keyring *ring, const char *address,
                      const char *name)
{
    bool is_unix = strncmp(address, "unix:", 5) == 0, local = on_loopback(address);
    log_info("ready", "address", address, "name", name, "version", TASKHUB_VERSION);
    if (local && (options->demo_link || isatty(STDOUT_FILENO)))
        print_demo_link(options, ring, address);
    if (!local && !is_unix)
        log_warn("listening beyond this machine without TLS: put a proxy that speaks TLS in front", "address",
                 address);
}

bool process_reload_keys(const struct options *options, struct keyring **ring)
{
    char *reason = NULL;
    struct keyring *fresh = keyfile_load(options, &reason);
    if (fresh == NULL) {
        log_error("the keys were not reloaded", "reason", reason);
        free(reason);
        return false;
    }
    keyring_free(ring);
    *ring = fresh;
    log_info("the keys were reloaded");
    return true;
}
