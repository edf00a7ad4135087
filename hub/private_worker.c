/* SPDX-License-Identifier: MIT */
/* Starts the private worker; see private_worker.h. What it must know travels in its environment. */
#include "hub/private_worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define HUB_NAME_MAX 57 /* with "-worker" as long as a name may be */
#define DRAIN_S 5       /* unless configured: a hub shall be gone within ten seconds of its SIGTERM */

char *private_worker_program(char **ret_reason)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    char *path = xasprintf("%.*s/taskhub-worker", slash ? (int)(slash - self) : 0, self);
    if (access(path, X_OK) == 0)
        return path;
    *ret_reason = xasprintf("%s cannot be run: %s; it belongs beside taskhub, open to the user that runs it",
                            path, strerror(errno));
    free(path);
    return NULL;
}

static bool is_default(const struct options *options, enum option_id id)
{
    return options->origin[id].source == OPTION_DEFAULT;
}

static int64_t drain_s(const struct options *options)
{
    return is_default(options, OPTION_ID_worker_drain_s) ? DRAIN_S : options->worker_drain_s;
}

unsigned private_worker_grace_ms(const struct options *options)
{
    return (unsigned)drain_s(options) * 1000 + 2000;
}

char *private_worker_name(const struct options *options, const char *hub_name)
{
    return *options->worker_name ? xstrdup(options->worker_name)
                                 : xasprintf("%.*s-worker", HUB_NAME_MAX, hub_name);
}

struct child *private_worker_new(struct loop *loop, const struct options *options, const char *program,
                                 const char *name, const char *redis_url, int descriptor)
{
    struct child_env environment = {0};
    char text[24];
    options_export(options, &environment);
    child_env_add(&environment, "TASKHUB_REDIS_URL", redis_url);
    child_env_add(&environment, "TASKHUB_DATA_DIR", options->data_dir);
    if (options->config_path)
        child_env_add(&environment, "TASKHUB_CONFIG", options->config_path);
    child_env_add(&environment, "TASKHUB_WORKER_NAME", name);
    if (geteuid() == 0)
        child_env_add(&environment, "TASKHUB_USER", "root"); /* the hub said what is to be said about it */
    snprintf(text, sizeof text, "%lld", (long long)drain_s(options));
    child_env_add(&environment, "TASKHUB_WORKER_DRAIN_S", text);
    const struct child_config config = {
        .name = "taskhub-worker",
        .argv = (const char *const[]){program, NULL},
        .environment = environment,
        .inherit = {descriptor},
        .inherit_count = descriptor >= 0,
        .death_signal = SIGKILL,
    };
    struct child *child = child_new(loop, &config);
    free(environment.lines);
    return child;
}
